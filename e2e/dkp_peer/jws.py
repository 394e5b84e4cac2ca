"""Tokens for the private document (peer protocol, section 3)."""

import base64
import json

import ed25519

HEADER = b'{"alg":"EdDSA"}'
ISSUER = "d8-istio"
SCOPE = "private-federation"
LIFETIME = 60

VECTOR = (
    "eyJhbGciOiJFZERTQSJ9.eyJhdWQiOiIyMjIyMjIyMi1iYmJiLTRiYmItOGJiYi0yMjIyMjIyMjIyMjIiLCJleHAiOjE3Nj"
    "cyMjU2NjAsImlzcyI6ImQ4LWlzdGlvIiwibmJmIjoxNzY3MjI1NjAwLCJzY29wZSI6InByaXZhdGUtZmVkZXJhdGlvbiIsIn"
    "N1YiI6IjExMTExMTExLWFhYWEtNGFhYS04YWFhLTExMTExMTExMTExMSJ9.37a9InjLcCFb7oPKDceKq17FlQLNXSavQFx7B"
    "K7HD16G8o16xbnFhFJ892f75O1lec1aO9kNeAVN6eKf61jLCQ"
)


class Refused(Exception):
    """Why a token is refused."""


def _encode(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _decode(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def make(seed, subject, audience, now, changes=None):
    """A token. `changes` replaces claims, and removes those whose value is None."""
    claims = {
        "iss": ISSUER,
        "aud": audience,
        "sub": subject,
        "scope": SCOPE,
        "nbf": now,
        "exp": now + LIFETIME,
    }
    claims.update(changes or {})
    claims = {name: value for name, value in claims.items() if value is not None}
    body = json.dumps(claims, sort_keys=True, separators=(",", ":")).encode()
    signed = f"{_encode(HEADER)}.{_encode(body)}"
    return f"{signed}.{_encode(ed25519.sign(seed, signed.encode()))}"


def check_vector():
    """Makes and checks the token of the protocol's test vector, so that a mistake in this program
    is not taken for one of the program under test."""
    seed, public = bytes(range(32)), ed25519.public_key(bytes(range(32)))
    subject = "11111111-aaaa-4aaa-8aaa-111111111111"
    audience = "22222222-bbbb-4bbb-8bbb-222222222222"
    assert make(seed, subject, audience, 1767225600) == VECTOR
    assert check(VECTOR, audience, {subject: public}.get, 1767225659)["sub"] == subject
    for key, now in [(public, 1767225660), (ed25519.public_key(bytes(32)), 1767225659)]:
        try:
            check(VECTOR, audience, {subject: key}.get, now)
        except Refused:
            continue
        raise AssertionError("a wrong token was accepted")


def read(token):
    """The header (as text), the claims, the signed bytes and the signature, all unchecked."""
    try:
        header, body, signature = token.split(".")
        signed = f"{header}.{body}".encode()
        return _decode(header).decode(), json.loads(_decode(body)), signed, _decode(signature)
    except ValueError as error:
        raise Refused(f"not a token: {error}") from error


def check(token, audience, key_of, now):
    """The claims, after the checks of a DKP exporter: algorithm, audience, scope, expiry, subject
    and signature."""
    header, claims, signed, signature = read(token)
    if json.loads(header).get("alg") != "EdDSA":
        raise Refused("the algorithm is not EdDSA")
    if claims.get("aud") != audience:
        raise Refused("the audience is another cluster")
    if claims.get("scope") != SCOPE:
        raise Refused("wrong scope")
    if not isinstance(claims.get("exp"), int) or claims["exp"] <= now:
        raise Refused("expired")
    key = key_of(claims.get("sub"))
    if key is None:
        raise Refused("the subject is not a federated cluster")
    if not ed25519.verify(key, signed, signature):
        raise Refused("wrong signature")
    return claims
