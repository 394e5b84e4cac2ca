"""Asks peers for their documents, and derives what it imports (peer protocol, sections 2 to 6)."""

import http.client
import ipaddress
import ssl
import time
from urllib.parse import urlsplit

import documents
import jws
import pem

# Section 5: the substrings, in the order in which they are tried.
PROTOCOLS = [("https", "TLS"), ("http2", "HTTP2"), ("http", "HTTP"), ("grpc", "HTTP2"), ("tls", "TLS")]


def poll(peer, times):
    """Asks all peers, one after another as DKP does, and that `times` times within one second: the
    tokens of one second are the same."""
    now = int(time.time())
    for _ in range(times):
        for name, other in peer.peers().items():
            peer.learn(name, ask(peer, other, now))


def ask(peer, other, now):
    """What one round with a peer taught: its documents, the conditions, the answers."""
    learned = {"conditions": {}, "answers": []}
    learned["public"] = attempt(
        learned, "PublicMetadataExchangeReady", documents.read_public,
        lambda: get(other, "/public/public.json", learned),
    )
    if learned["public"] is None:
        condition(learned, "PrivateMetadataExchangeReady", "Unknown", "AwaitingPublic", "")
        return learned
    config = peer.config()
    token = jws.make(
        bytes.fromhex(config["seed"]), config["clusterUUID"], learned["public"]["clusterUUID"],
        now, config["quirks"]["claims"],
    )
    learned["private"] = attempt(
        learned, "PrivateMetadataExchangeReady", documents.read_private,
        lambda: get(other, "/private/federation.json", learned, token),
    )
    return learned


def attempt(learned, kind, read, fetch):
    """The document, or None with the reason in the condition."""
    try:
        status, body = fetch()
        if status != 200:
            raise documents.Invalid(f"NonOKResponse: {status} {body!r}")
        document = read(body)
    except documents.Invalid as invalid:
        reason, _, message = str(invalid).partition(": ")
        condition(learned, kind, "False", reason, message)
        return None
    except (OSError, http.client.HTTPException) as error:
        condition(learned, kind, "False", "FetchFailed", str(error))
        return None
    condition(learned, kind, "True", "Succeeded", "")
    return document


def condition(learned, kind, status, reason, message):
    learned["conditions"][kind] = {"status": status, "reason": reason, "message": message}


def get(other, suffix, learned, token=None):
    """One GET without conditions, on a connection of its own."""
    endpoint = other["metadataEndpoint"]
    url = urlsplit(endpoint.removesuffix("/") + suffix)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_default_certs()
    if other.get("ca"):
        context.load_verify_locations(cadata=other["ca"])
    connection = http.client.HTTPSConnection(url.hostname, url.port or 443, timeout=10, context=context)
    try:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        connection.request("GET", url.path, headers=headers)
        answer = connection.getresponse()
        body = answer.read()
        learned["answers"].append({
            "suffix": suffix,
            "status": answer.status,
            "headers": [[name.lower(), value] for name, value in answer.getheaders()],
            "body": body.decode(),
        })
        return answer.status, body
    finally:
        connection.close()


def protocol(port_name):
    """The protocol of a port (section 5)."""
    base = port_name.split("-")[0]
    return next((word for part, word in PROTOCOLS if part in base), "TCP")


def imports(known):
    """What is written into the mesh for each host of a peer (section 6)."""
    private = known.get("private") or {}
    gateways = private.get("ingressGateways", [])
    addresses = [gateway["address"] for gateway in gateways]
    for service in private.get("publicServices", []):
        names = [port["name"] for port in service["ports"]]
        yield {
            "host": service["hostname"],
            "location": "MESH_INTERNAL",
            "resolution": "STATIC" if all(map(is_ip, addresses)) else "DNS",
            "ports": [
                {"number": port["port"], "name": port["name"], "protocol": protocol(port["name"])}
                for port in service["ports"]
            ],
            "endpoints": [
                {"address": gateway["address"], "ports": {name: gateway["port"] for name in names}}
                for gateway in gateways
            ],
            "tls": "ISTIO_MUTUAL",
        }


def is_ip(text):
    try:
        ipaddress.ip_address(text)
        return True
    except ValueError:
        return False


def key_of(known, subject):
    """The key of the peer with this UUID."""
    for learned in known.values():
        public = learned.get("public")
        if public and public["clusterUUID"] == subject:
            return pem.read_key(public["authnKeyPub"])
    return None
