"""Opens and seals transaction cookies by the package comment, with the cryptography library.

A line of JSON in, a line out: {"op": "open", ...} gives what the cookie holds,
{"op": "seal", ...} a cookie.
"""

import base64
import hashlib
import json
import sys

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

PURPOSE = b"latchkey/transaction/v1"


def unb64(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def b64(raw):
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def aead(case):
    key = HKDF(algorithm=hashes.SHA256(), length=32, salt=None, info=PURPOSE)
    return AESGCM(key.derive(bytes.fromhex(case["key"])))


def name(case, state):
    digest = hashlib.sha256(b"latchkey/transaction-name/v1\0" + state.encode()).digest()
    return case["prefix"] + "-" + b64(digest[:9])


def aad(case, header, cookie):
    provider = case["provider"].encode()
    return PURPOSE + b"\0" + header + bytes([len(provider)]) + provider + cookie.encode()


def seal(case):
    header = bytes([1, case["key_id"]]) + case["began"].to_bytes(8, "big")
    payload = b"".join(unb64(case[k]) for k in ("state", "nonce", "verifier"))
    address = case["return_to"].encode()
    payload += len(address).to_bytes(2, "big") + address + bytes([len(case["extra"])])
    for key in sorted(case["extra"]):
        value = case["extra"][key].encode()
        payload += bytes([len(key)]) + key.encode() + len(value).to_bytes(2, "big") + value
    cookie = name(case, case["state"])
    nonce = bytes(range(12))
    return {"name": cookie, "value": b64(header + nonce + aead(case).encrypt(nonce, payload, aad(case, header, cookie)))}


def opened(case):
    raw = unb64(case["value"])
    header, nonce, sealed = raw[:10], raw[10:22], raw[22:]
    assert raw[0] == 1 and raw[1] == case["key_id"]
    payload = aead(case).decrypt(nonce, sealed, aad(case, header, case["name"]))
    out = {"state": b64(payload[:32]), "nonce": b64(payload[32:64]), "verifier": b64(payload[64:96])}
    out["began"] = int.from_bytes(header[2:], "big")
    rest = payload[96:]

    def take(size):
        nonlocal rest
        length = int.from_bytes(rest[:size], "big")
        text, rest = rest[size : size + length], rest[size + length :]
        return text.decode()

    out["return_to"] = take(2)
    count, rest = rest[0], rest[1:]
    out["extra"] = {}
    for _ in range(count):
        key = take(1)
        out["extra"][key] = take(2)
    assert rest == b"" and case["name"] == name(case, out["state"])
    return out


for line in sys.stdin:
    case = json.loads(line)
    print(json.dumps(opened(case) if case["op"] == "open" else seal(case)))
