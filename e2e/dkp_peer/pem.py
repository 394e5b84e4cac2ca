"""Keys in PEM (peer protocol, section 3), and the blocks of a PEM text."""

import base64
import re

# What comes before the 32 bytes in the SubjectPublicKeyInfo of an Ed25519 key (RFC 8410).
PREFIX = bytes.fromhex("302a300506032b6570032100")

# The label that DKP writes, and the only one that this stand-in reads.
LABEL = "ED25519 PUBLIC KEY"

BLOCK = re.compile("-----BEGIN ([A-Z0-9 ]+)-----\\s(.*?)-----END \\1-----", re.DOTALL)


def blocks(text):
    """The blocks as (label, bytes)."""
    return [(label, base64.b64decode(body)) for label, body in BLOCK.findall(text)]


def write_key(public, label):
    """A public key as PEM."""
    body = base64.b64encode(PREFIX + public).decode()
    return f"-----BEGIN {label}-----\n{body}\n-----END {label}-----\n"


def read_key(text):
    """The 32 bytes of a public key, or ValueError."""
    found = blocks(text)
    if len(found) != 1:
        raise ValueError(f"expected one PEM block, found {len(found)}")
    label, body = found[0]
    if label != LABEL:
        raise ValueError(f"expected the label {LABEL}, found {label}")
    if len(body) != len(PREFIX) + 32 or not body.startswith(PREFIX):
        raise ValueError("not the SubjectPublicKeyInfo of an Ed25519 key")
    return body[len(PREFIX):]


def check_roots(text):
    """ValueError unless there is at least one certificate."""
    found = blocks(text)
    if not found or any(label != "CERTIFICATE" for label, _ in found):
        raise ValueError(f"expected certificates, found {[label for label, _ in found]}")
