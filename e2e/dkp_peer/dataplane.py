"""The data plane (peer protocol, sections 4 and 6): the gateway with the workloads behind it, and a
client that calls what peers export.

A DKP gateway passes TLS through to the workload, chosen by SNI. So each service answers with the
certificate of its own workload.
"""

import socket
import socketserver
import ssl

import documents

# What Istio's sidecars offer.
ALPN = ["istio", "istio-peer-exchange", "istio-http/1.0", "istio-http/1.1", "istio-h2"]


def sni(host, port):
    return f"outbound_.{port}_._.{host}"


def serve(peer, address):
    """The gateway, which is not running yet."""
    socketserver.ThreadingTCPServer.allow_reuse_address = True
    socketserver.ThreadingTCPServer.daemon_threads = True
    handler = type("Handler", (Gateway,), {"peer": peer})
    return socketserver.ThreadingTCPServer(address, handler)


class Gateway(socketserver.BaseRequestHandler):
    """Answers one connection."""

    peer = None

    def handle(self):
        self.request.settimeout(10)
        seen = {"sni": None, "alpn": None, "identities": [], "request": None}
        try:
            # Certificates and roots may have changed since the last connection.
            context = self.context(None)
            context.sni_callback = lambda stream, name, _: self.choose(stream, name, seen)
            with context.wrap_socket(self.request, server_side=True) as stream:
                seen["alpn"] = stream.selected_alpn_protocol()
                seen["identities"] = identities(stream)
                head = read_head(stream)
                seen["request"] = head.split("\r\n")[0] or None
                if head:
                    stream.sendall(self.answer(seen).encode())
        except OSError as error:
            seen["error"] = str(error)
        self.peer.record_connection(seen)

    def choose(self, stream, name, seen):
        """Selects the workload by the server name."""
        seen["sni"] = name
        workload = self.workloads().get(name)
        if workload is None:
            return ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME
        stream.context = self.context(workload)
        return None

    def context(self, workload):
        config = self.peer.config()
        workload = workload or config["health"]
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(workload["certificate"], workload["key"])
        context.verify_mode = ssl.CERT_REQUIRED
        # All roots in one list, as DKP has them.
        context.load_verify_locations(cadata=self.peer.roots())
        context.set_alpn_protocols(["istio"])
        return context

    def workloads(self):
        """The workloads behind the gateway, by server name."""
        config = self.peer.config()
        host = documents.health_host(config["clusterUUID"], config["trustDomain"])
        found = {sni(host, 80): config["health"]}
        for service in config["services"]:
            for port in service["ports"]:
                found[sni(service["hostname"], port["port"])] = service
        return found

    def answer(self, seen):
        if ".d8-istio.svc." in seen["sni"]:
            found = seen["request"].startswith("GET /healthz ")
            return response("200 OK", "ok") if found else response("404 Not Found", "")
        return response("200 OK", self.workloads()[seen["sni"]]["answer"])


def response(status, body):
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n{body}"


def read_head(stream):
    """A request or a response up to its empty line, and whatever came with that."""
    data = b""
    while b"\r\n\r\n" not in data and len(data) < 65536:
        more = stream.recv(4096)
        if not more:
            break
        data += more
    return data.decode("latin-1")


def identities(stream):
    names = (stream.getpeercert() or {}).get("subjectAltName", ())
    return [value for kind, value in names if kind == "URI"]


def call(peer, host, port, path="/", alpn=None):
    """Calls an imported service through the data plane."""
    imported = next((row for row in peer.imports() if row["host"] == host), None)
    if imported is None:
        return {"error": f"{host} is not imported"}
    if port not in [row["number"] for row in imported["ports"]]:
        return {"error": f"{host} has no port {port}"}
    name = next(row["name"] for row in imported["ports"] if row["number"] == port)
    error = "no gateway"
    for endpoint in imported["endpoints"]:
        try:
            address = (endpoint["address"], endpoint["ports"][name])
            return call_at(peer, address, host, port, path, alpn or ALPN)
        except OSError as failed:
            error = f"{endpoint['address']}: {failed}"
    return {"error": error}


def call_at(peer, address, host, port, path, alpn):
    config = peer.config()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    # Any certificate from any of the roots, as DKP's clients accept it.
    context.check_hostname = False
    context.load_verify_locations(cadata=peer.roots())
    context.load_cert_chain(config["client"]["certificate"], config["client"]["key"])
    context.set_alpn_protocols(alpn)
    with socket.create_connection(address, timeout=10) as plain:
        with context.wrap_socket(plain, server_hostname=sni(host, port)) as stream:
            request = f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
            stream.sendall(request.encode())
            seen = {"alpn": stream.selected_alpn_protocol(), "identities": identities(stream)}
            text = read_head(stream)
            while more := stream.recv(4096):
                text += more.decode("latin-1")
    head, _, body = text.partition("\r\n\r\n")
    words = head.split(" ")
    if len(words) < 2:
        return {**seen, "error": "closed without an answer"}
    return {**seen, "status": int(words[1]), "body": body}


def probe(peer):
    """Asks each peer for its health host, as DKP does once a minute. A host that is not among the
    public services raises DKP's alert."""
    results = {}
    for name, known in peer.known().items():
        public, private = known.get("public"), known.get("private")
        if not public or not private:
            results[name] = {"error": "MetadataUnavailable"}
            continue
        host = documents.health_host(public["clusterUUID"], peer.peers()[name]["trustDomain"])
        rows = [row for row in private["publicServices"] if row["hostname"] == host]
        announced = rows and {"name": "http", "port": 80} in [
            {"name": port["name"], "port": port["port"]} for port in rows[0]["ports"]
        ]
        if not announced:
            results[name] = {"error": f"alert: {host} is not among the public services"}
            continue
        results[name] = {"host": host, **call(peer, host, 80, "/healthz")}
    return results
