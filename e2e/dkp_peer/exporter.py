"""The metadata endpoint (peer protocol, sections 2 and 3)."""

import base64
import json
import ssl
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import documents
import jws
import pem


def serve(peer, address, certificate, key):
    """The server, which is not running yet."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server = ThreadingHTTPServer(address, type("Handler", (Handler,), {"peer": peer}))
    # The handshake is the business of the connection's own thread.
    server.socket = context.wrap_socket(
        server.socket, server_side=True, do_handshake_on_connect=False
    )
    return server


class Handler(BaseHTTPRequestHandler):
    """Answers one connection. Knows no conditional requests, so each answer is complete."""

    peer = None
    protocol_version = "HTTP/1.1"
    timeout = 30

    def do_GET(self):
        config = self.peer.config()
        seen = {
            "at": time.time(),
            "method": self.command,
            "path": self.path,
            "version": self.request_version,
            "headers": [[name, value] for name, value in self.headers.items()],
        }
        status, body = self.answer(config, seen)
        self.peer.record_request({**seen, "status": status})
        data = body.encode()
        self.send_response(status)
        self.send_header("Content-Type", config["quirks"]["contentType"])
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def answer(self, config, seen):
        suffix = self.path.removeprefix(config["metadataPath"])
        if suffix == "/public/public.json":
            return config["quirks"]["status"], documents.public(config)
        if suffix == "/public/spiffe-bundle-endpoint":
            return config["quirks"]["status"], bundle(config)
        if suffix == "/private/federation.json":
            return self.private(config, seen)
        return 404, "404 page not found\n"

    def private(self, config, seen):
        header = self.headers.get("Authorization", "")
        token = header.removeprefix("Bearer ") if header.startswith("Bearer ") else ""
        try:
            seen["token"] = decoded(token)
            if config["quirks"]["unauthorized"]:
                raise jws.Refused("the subject is not a federated cluster")
            jws.check(token, config["clusterUUID"], self.peer.key_of, int(time.time()))
            return config["quirks"]["status"], documents.private(config)
        except jws.Refused as refused:
            seen["refused"] = str(refused)
            # DKP tells a stranger why.
            return 401, f"{refused}\n"

    def log_message(self, text, *arguments):
        print(f"{self.client_address[0]}: {text % arguments}", flush=True)


def decoded(token):
    """What a token says, as a test wants to see it."""
    header, claims, _, _ = jws.read(token)
    return {"raw": token, "header": header, "claims": claims, "at": time.time()}


def bundle(config):
    """The roots as a SPIFFE bundle."""
    roots = [base64.b64encode(der).decode() for _, der in pem.blocks(config["rootCA"])]
    return json.dumps({
        "spiffe_sequence": 1,
        "spiffe_refresh_hint": 2419200,
        "keys": [{"use": "x509-svid", "kty": "EC", "x5c": [root]} for root in roots],
    })
