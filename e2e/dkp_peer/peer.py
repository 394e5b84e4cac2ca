"""The state of the stand-in, shared by its threads."""

import copy
import threading

import importer

# The behaviours of DKP that a test can switch. The first of each kind is how a DKP cluster is most
# of the time.
QUIRKS = {
    # Whatever a document is.
    "contentType": "text/plain; charset=utf-8",
    # `listed`, `empty` (while it starts), `null` or `missing`.
    "gateways": "listed",
    "services": "listed",
    # What is not there yet is an empty string.
    "emptyKey": False,
    "emptyRoot": False,
    "keyLabel": "ED25519 PUBLIC KEY",
    # Refuses every token, as an exporter that has not learned the peer's key.
    "unauthorized": False,
    # The status of every document that is served.
    "status": 200,
    # Does not announce its health host.
    "noHealthName": False,
    # Changes to the claims of its tokens; a claim of None is left out.
    "claims": {},
}


class Peer:
    """What the cluster is, what it knows of others, and what it has seen."""

    def __init__(self, config):
        self._lock = threading.RLock()
        self._config = {"services": [], "gateways": [], "publicExtra": {}, "privateExtra": {}, **config}
        self._config["quirks"] = {**QUIRKS, **config.get("quirks", {})}
        self._peers = config.get("peers", {})
        self._known = {}
        self._probes = {}
        self._requests = []
        self._connections = []

    def config(self):
        with self._lock:
            return copy.deepcopy(self._config)

    def change(self, changes):
        """Replaces parts of the configuration, the peers, or some quirks."""
        with self._lock:
            unknown = set(changes.get("quirks", {})) - set(QUIRKS)
            if unknown:
                raise KeyError(f"no such quirk: {unknown}")
            self._config["quirks"].update(changes.pop("quirks", {}))
            self._peers = changes.pop("peers", self._peers)
            self._known = {name: known for name, known in self._known.items() if name in self._peers}
            self._config.update(changes)

    def peers(self):
        with self._lock:
            return copy.deepcopy(self._peers)

    def known(self):
        with self._lock:
            return copy.deepcopy(self._known)

    def learn(self, name, learned):
        """Keeps the last good documents: with DKP they never expire."""
        with self._lock:
            before = self._known.get(name, {})
            for kind in ["public", "private"]:
                learned[kind] = learned.get(kind) or before.get(kind)
            learned["answers"] = before.get("answers", []) + learned["answers"]
            self._known[name] = learned

    def imports(self):
        return [row for known in self.known().values() for row in importer.imports(known)]

    def key_of(self, subject):
        return importer.key_of(self.known(), subject)

    def roots(self):
        """Its own roots and those of all peers, in one list."""
        publics = [known["public"] for known in self.known().values() if known.get("public")]
        return "".join([self.config()["rootCA"], *(public["rootCA"] for public in publics)])

    def record_request(self, request):
        with self._lock:
            self._requests.append(request)

    def record_connection(self, connection):
        with self._lock:
            self._connections.append(connection)

    def record_probes(self, probes):
        with self._lock:
            self._probes = probes

    def state(self):
        """Everything that a test may look at."""
        with self._lock:
            return copy.deepcopy({
                "requests": self._requests,
                "connections": self._connections,
                "peers": self._known,
                "imports": self.imports(),
                "probes": self._probes,
            })
