"""Ed25519 as RFC 8032 writes it down (sections 5.1 and 6).

Slow, and open to timing attacks: for tests only. It is written out so that the stand-in shares no
library with what it tests.
"""

import hashlib

P = 2**255 - 19
ORDER = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, -1, P) % P
SQRT_OF_MINUS_1 = pow(2, (P - 1) // 4, P)


def _hash(data):
    return int.from_bytes(hashlib.sha512(data).digest(), "little") % ORDER


# Points are (X, Y, Z, T) with x = X/Z, y = Y/Z and x*y = T/Z.


def _add(a, b):
    left = (a[1] - a[0]) * (b[1] - b[0]) % P
    right = (a[1] + a[0]) * (b[1] + b[0]) % P
    c = 2 * a[3] * b[3] * D % P
    d = 2 * a[2] * b[2] % P
    e, f, g, h = right - left, d - c, d + c, right + left
    return (e * f % P, g * h % P, f * g % P, e * h % P)


def _multiply(number, point):
    result = (0, 1, 1, 0)
    while number > 0:
        if number & 1:
            result = _add(result, point)
        point = _add(point, point)
        number >>= 1
    return result


def _equal(a, b):
    return (a[0] * b[2] - b[0] * a[2]) % P == 0 and (a[1] * b[2] - b[1] * a[2]) % P == 0


def _recover_x(y, sign):
    if y >= P:
        return None
    square = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    if square == 0:
        return None if sign else 0
    x = pow(square, (P + 3) // 8, P)
    if (x * x - square) % P != 0:
        x = x * SQRT_OF_MINUS_1 % P
    if (x * x - square) % P != 0:
        return None
    return P - x if (x & 1) != sign else x


_BASE_Y = 4 * pow(5, -1, P) % P
_BASE_X = _recover_x(_BASE_Y, 0)
BASE = (_BASE_X, _BASE_Y, 1, _BASE_X * _BASE_Y % P)


def _compress(point):
    inverse = pow(point[2], -1, P)
    x, y = point[0] * inverse % P, point[1] * inverse % P
    return (y | ((x & 1) << 255)).to_bytes(32, "little")


def _decompress(data):
    number = int.from_bytes(data, "little")
    y = number & ((1 << 255) - 1)
    x = _recover_x(y, number >> 255)
    return None if x is None else (x, y, 1, x * y % P)


def _expand(seed):
    digest = hashlib.sha512(seed).digest()
    scalar = int.from_bytes(digest[:32], "little")
    scalar &= (1 << 254) - 8
    scalar |= 1 << 254
    return scalar, digest[32:]


def public_key(seed):
    """The public key (32 bytes) of a seed (32 bytes)."""
    return _compress(_multiply(_expand(seed)[0], BASE))


def sign(seed, message):
    """The signature (64 bytes). It is always the same for the same message."""
    scalar, prefix = _expand(seed)
    public = _compress(_multiply(scalar, BASE))
    nonce = _hash(prefix + message)
    commitment = _compress(_multiply(nonce, BASE))
    challenge = _hash(commitment + public + message)
    return commitment + ((nonce + challenge * scalar) % ORDER).to_bytes(32, "little")


def verify(public, message, signature):
    """Whether the holder of the key has signed the message."""
    if len(public) != 32 or len(signature) != 64:
        return False
    point, commitment = _decompress(public), _decompress(signature[:32])
    number = int.from_bytes(signature[32:], "little")
    if point is None or commitment is None or number >= ORDER:
        return False
    challenge = _hash(signature[:32] + public + message)
    return _equal(_multiply(number, BASE), _add(commitment, _multiply(challenge, point)))
