"""A stand-in for a DKP cluster: exporter, importer, prober and gateway, written from the description
of the peer protocol alone. It shares no code with fedgate and needs only Python.

    python3 -B e2e/dkp_peer CONFIGURATION.json

It polls and probes its peers at DKP's pace, and whenever the control address says so:

    GET  /state               what it has seen and learned
    POST /change  {...}       changes its configuration, peers or quirks (see peer.py)
    POST /poll    {"times"}   asks all peers now
    POST /probe               calls the health hosts of all peers now
    POST /call    {"host", "port", "path", "alpn"}  calls an imported service
"""

import json
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import dataplane
import exporter
import importer
import jws
from peer import Peer

# How often a DKP cluster polls and probes, in seconds.
PACE = 60


def act(peer, path, body):
    """Carries out a request to the control address."""
    if path == "/state":
        return peer.state()
    if path == "/change":
        peer.change(body)
    elif path == "/poll":
        importer.poll(peer, body.get("times", 1))
    elif path == "/probe":
        peer.record_probes(dataplane.probe(peer))
    elif path == "/call":
        return dataplane.call(peer, **body)
    else:
        raise KeyError(path)
    return peer.state()


class Control(BaseHTTPRequestHandler):
    """The control address."""

    peer = None

    def do_GET(self):
        self.do_POST()

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        try:
            status, answer = 200, act(self.peer, self.path, json.loads(body or b"{}"))
        except Exception as error:  # A mistake in a test shows there.
            status, answer = 500, {"error": repr(error)}
        data = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, text, *arguments):
        pass


def at_its_pace(peer):
    while True:
        importer.poll(peer, 1)
        peer.record_probes(dataplane.probe(peer))
        time.sleep(PACE)


def main():
    jws.check_vector()
    with open(sys.argv[1], encoding="utf-8") as file:
        config = json.load(file)
    peer = Peer(config)
    listen = {name: tuple(address) for name, address in config["listen"].items()}
    metadata = config["metadata"]
    servers = [
        exporter.serve(peer, listen["metadata"], metadata["certificate"], metadata["key"]),
        dataplane.serve(peer, listen["gateway"]),
        ThreadingHTTPServer(listen["control"], type("Handler", (Control,), {"peer": peer})),
    ]
    threading.Thread(target=at_its_pace, args=[peer], daemon=True).start()
    threads = [threading.Thread(target=server.serve_forever) for server in servers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


main()
