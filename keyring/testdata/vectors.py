#!/usr/bin/python3
"""Writes vectors.json, the known answers that the tests hold the package to.

They come from another implementation (python3-cryptography, that is OpenSSL;
hmac and base64 of Python's library) of the formulas in the package comment:

    /usr/bin/python3 testdata/vectors.py > testdata/vectors.json

The inputs are derived from labels, so that the output is always the same.
"""

import base64
import hashlib
import hmac
import json

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF


def material(label, n):
    """n bytes that depend on the label only."""
    return hashlib.shake_256(b"latchkey vectors " + label.encode()).digest(n)


def hkdf(ikm, salt, info):
    return HKDF(hashes.SHA256(), 32, salt, info.encode()).derive(ikm)


def derive(key, info):
    return hkdf(key, None, info)


def mac_case(label, key_id, purpose, size):
    key, msg = material(label + " key", 32), material(label + " message", size)
    full = hmac.new(derive(key, purpose), msg, hashlib.sha256).digest()
    return {
        "name": label,
        "id": key_id,
        "key": key.hex(),
        "purpose": purpose,
        "derived": derive(key, purpose).hex(),
        "message": msg.hex(),
        "hmac": full.hex(),
        "mac": full[:16].hex(),
    }


def seal_case(label, plaintext):
    secret, sid = material(label + " secret", 32), material(label + " id", 16)
    data_key = material(label + " data key", 32)
    wrap_nonce, data_nonce = material(label + " nonce 1", 12), material(label + " nonce 2", 12)
    wrapping = hkdf(secret, sid, "latchkey/data/v1")
    wrap = wrap_nonce + AESGCM(wrapping).encrypt(wrap_nonce, data_key, b"latchkey/wrap/v1" + sid)
    data = data_nonce + AESGCM(data_key).encrypt(data_nonce, plaintext, b"latchkey/data/v1" + sid)
    return {
        "name": label,
        "secret": secret.hex(),
        "id": sid.hex(),
        "data_key": data_key.hex(),
        "plaintext": plaintext.hex(),
        "wrap_nonce": wrap_nonce.hex(),
        "data_nonce": data_nonce.hex(),
        "wrap": wrap.hex(),
        "data": data.hex(),
    }


def text_case():
    """A keyring as text, and what one MAC under each of its keys is."""
    one, three = material("text key 1", 32), material("text key 3", 32)
    b64 = lambda b: base64.urlsafe_b64encode(b).decode().rstrip("=")
    t = "2026-01-0%dT15:04:05.%06dZ"
    lines = [
        "latchkey-keyring/v1",
        " ".join(["1", t % (1, 0), t % (1, 0), "-", b64(one)]),
        " ".join(["2", t % (2, 1), t % (2, 600000), t % (9, 999999), "-"]),
        " ".join(["3", t % (3, 123456), t % (4, 123456), "-", b64(three)]),
    ]
    tag = lambda k: hmac.new(derive(k, "latchkey/token/v1"), b"m", hashlib.sha256).digest()[:16].hex()
    return {"text": "\n".join(lines) + "\n", "macs": {"1": tag(one), "3": tag(three)}}


print(json.dumps({
    "mac": [
        mac_case("token", 1, "latchkey/token/v1", 50),
        mac_case("rotation", 7, "latchkey/rotate/v1", 80),
        mac_case("empty-message", 255, "latchkey/token/v1", 0),
        mac_case("one-block", 2, "x", 64),
        mac_case("buffer-boundary", 3, "latchkey/token/v1", 128),
        mac_case("past-buffer", 4, "latchkey/token/v1", 129),
        mac_case("long", 5, "latchkey/token/v1", 1000),
    ],
    "seal": [
        seal_case("object", b'{"cart":{"items":[1,2,3]},"name":"J\xc3\xb8rgen"}'),
        seal_case("empty-object", b"{}"),
        seal_case("empty", b""),
        seal_case("kilobyte", material("plaintext", 1024)),
    ],
    "text": text_case(),
}, indent=1))
