"""What the stand-in publishes (peer protocol, sections 2 and 4), and what it accepts (section 2)."""

import json

import ed25519
import pem


class Invalid(Exception):
    """Why a document is not accepted. The message begins with the reason word of section 1."""


def health_host(uuid, trust_domain):
    """The host by which a peer checks that it reaches a cluster (section 4)."""
    return f"alliance-healthcheck-{uuid}.d8-istio.svc.{trust_domain}"


def public(config):
    """The public document. DKP exporters put an empty string where they have nothing."""
    quirks = config["quirks"]
    key = pem.write_key(ed25519.public_key(bytes.fromhex(config["seed"])), quirks["keyLabel"])
    return json.dumps({
        "clusterUUID": config["clusterUUID"],
        "authnKeyPub": "" if quirks["emptyKey"] else key,
        "rootCA": "" if quirks["emptyRoot"] else config["rootCA"],
        **config["publicExtra"],
    })


def private(config):
    """The private document, with all ports of each service, UDP as well, and no protocol."""
    gateways, services = config["gateways"], []
    hosts = [] if config["quirks"]["noHealthName"] else [{
        "hostname": health_host(config["clusterUUID"], config["trustDomain"]),
        "ports": [{"name": "http", "port": 80}],
    }]
    for service in config["services"] + hosts:
        ports = [{"name": port["name"], "port": port["port"]} for port in service["ports"]]
        services.append({"hostname": service["hostname"], "ports": ports})
    lists = {
        "ingressGateways": chosen(config["quirks"]["gateways"], gateways),
        "publicServices": chosen(config["quirks"]["services"], services),
        **config["privateExtra"],
    }
    return json.dumps({name: rows for name, rows in lists.items() if rows != "missing"})


def chosen(quirk, rows):
    """A list as it is, empty, null, or missing altogether."""
    return {"listed": rows, "empty": [], "null": None, "missing": "missing"}[quirk]


def read_public(body):
    """A peer's public document."""
    document = read_object(body)
    for field in ["clusterUUID", "authnKeyPub", "rootCA"]:
        if not isinstance(document.get(field), str) or not document[field]:
            raise Invalid(f"InvalidPublicMetadata: {field} is {document.get(field)!r}")
    try:
        pem.read_key(document["authnKeyPub"])
        pem.check_roots(document["rootCA"])
    except ValueError as error:
        raise Invalid(f"InvalidPublicMetadata: {error}") from error
    return document


def read_private(body):
    """A peer's private document."""
    document = read_object(body)
    # An empty list is taken as the truth, as DKP does.
    for field in ["ingressGateways", "publicServices"]:
        if not isinstance(document.get(field), list):
            raise Invalid(f"InvalidPrivateMetadata: {field} is {document.get(field)!r}")
    try:
        for gateway in document["ingressGateways"]:
            expect(gateway["address"], str)
            expect(gateway["port"], int)
        for service in document["publicServices"]:
            expect(service["hostname"], str)
            for port in service["ports"]:
                expect(port["name"], str)
                expect(port["port"], int)
    except (KeyError, TypeError) as error:
        raise Invalid(f"InvalidPrivateMetadata: {error}") from error
    return document


def expect(value, kind):
    if not isinstance(value, kind) or isinstance(value, bool):
        raise TypeError(f"expected {kind.__name__}, found {value!r}")


def read_object(body):
    try:
        document = json.loads(body)
    except ValueError as error:
        raise Invalid(f"InvalidJSON: {error}") from error
    if not isinstance(document, dict):
        raise Invalid("InvalidJSON: not an object")
    return document
