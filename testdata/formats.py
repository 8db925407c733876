#!/usr/bin/env python3
"""A second implementation of docs/formats.md, in Python.

    python3 testdata/formats.py docs/formats.md

It takes the inputs of the worked example in that page, computes everything else
from the text of the page with other libraries (python3-cryptography, that is
OpenSSL, and Python's own), and compares. The Go tests run it too.
"""

import base64
import calendar
import datetime
import hashlib
import hmac
import json
import re
import sys

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF


def hkdf(ikm, salt, info):
    return HKDF(hashes.SHA256(), 32, salt, info).derive(ikm)


def derive(key, purpose):
    return hkdf(key, None, purpose.encode())


def b64(raw):
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def micros(text):
    t = datetime.datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%fZ")
    return calendar.timegm(t.timetuple()) * 1_000_000 + t.microsecond


def session_id(ms, placement, random8):
    raw = bytearray(ms.to_bytes(6, "big") + bytes(2) + random8)
    raw[6] = 0x70 | placement >> 8
    raw[7] = placement & 0xFF
    raw[8] = 0x80 | raw[8] & 0x3F
    return bytes(raw)


def id_text(raw):
    h = raw.hex()
    return "-".join([h[:8], h[8:12], h[12:16], h[16:20], h[20:]])


def token(key, key_id, sid, secret):
    signed = bytes([1, key_id]) + sid + secret
    mac = hmac.new(derive(key, "latchkey/token/v1"), signed, hashlib.sha256).digest()[:16]
    return mac, "lk_" + b64(signed + mac)


def wrap(secret, sid, data_key, nonce):
    key = hkdf(secret, sid, b"latchkey/data/v1")
    return nonce + AESGCM(key).encrypt(nonce, data_key, b"latchkey/wrap/v1" + sid)


def seal(data_key, sid, plaintext, nonce):
    return nonce + AESGCM(data_key).encrypt(nonce, plaintext, b"latchkey/data/v1" + sid)


def sealed_token(v, key, key_id, sid, secret, nonce, generation):
    strings = [v[n].encode() for n in ("provider", "subject", "email", "name", "assurance", "sid", "ip", "user agent")]
    strings += [v[n].replace(",", "\n").encode() for n in ("roles", "methods")]
    ends, last = b"", 0
    for s in strings:
        last += len(s)
        ends += last.to_bytes(2, "big")
    created = micros(v["created"])
    numbers = (created, created, micros(v["expires"]), int(v["idle"]) * 1_000_000, micros(v["auth time"]), created, 1)
    identity = bytes([1, 1]) + ends + generation.to_bytes(8, "big") + b"".join(n.to_bytes(8, "big") for n in numbers)
    head = bytes([2, key_id])
    store = hashlib.sha256(b"latchkey/store/v1" + bytes.fromhex(v["placement key"])).digest()[:8]
    plain = identity + sid + secret + store + b"".join(strings)
    sealed = AESGCM(derive(key, "latchkey/token/v2")).encrypt(nonce, plain, head)
    return "lk_" + b64(head + nonce + sealed)


def uvarint(n):
    out = bytearray()
    while n >= 0x80:
        out.append(n & 0x7F | 0x80)
        n >>= 7
    out.append(n)
    return bytes(out)


def prefixed(b):
    return uvarint(len(b)) + b


def record(v, secret_hash, patch_id, rotated, wrapped, data, rotation=None):
    out = bytes([1, 1 if rotation else 0]) + secret_hash + patch_id
    for t in (v["created"], v["expires"], v["auth time"], rotated):
        out += micros(t).to_bytes(8, "big")
    out += uvarint(int(v["idle"]) * 1_000_000) + uvarint(int(v["lifetime"]) * 1_000_000)
    for name in ("provider", "subject", "email", "name", "assurance", "sid", "ip", "user agent"):
        out += prefixed(v[name].encode())
    for name in ("roles", "methods"):
        items = v[name].split(",")
        out += uvarint(len(items)) + b"".join(prefixed(i.encode()) for i in items)
    out += prefixed(wrapped) + prefixed(data)
    if rotation:
        previous_hash, nonce, key_id, grace_end, previous_wrap = rotation
        out += previous_hash + nonce + bytes([key_id]) + micros(grace_end).to_bytes(8, "big") + prefixed(previous_wrap)
    return out


def compute(v):
    h = {n: bytes.fromhex(v[n]) for n in (
        "key", "placement key", "id random", "secret", "data key", "wrap nonce", "data nonce",
        "rotate nonce", "rotated wrap nonce", "rotated patch id", "token nonce")}
    key_id = int(v["key id"])
    identity = v["provider"].encode() + b"\0" + v["subject"].encode()
    placement = int.from_bytes(hmac.new(h["placement key"], identity, hashlib.sha256).digest()[:2], "big") >> 4
    sid = session_id(micros(v["created"]) // 1000, placement, h["id random"])
    mac, text = token(h["key"], key_id, sid, h["secret"])
    wrapped = wrap(h["secret"], sid, h["data key"], h["wrap nonce"])
    data = seal(h["data key"], sid, v["data"].encode(), h["data nonce"])
    stored = hashlib.sha256(h["secret"]).digest()
    successor = hmac.new(derive(h["key"], "latchkey/rotate/v1"), sid + h["secret"] + h["rotate nonce"], hashlib.sha256).digest()
    rewrapped = wrap(successor, sid, h["data key"], h["rotated wrap nonce"])
    seconds = (micros(v["expires"]) - micros(v["created"])) // 1_000_000
    return {
        "keyring line": f"{key_id} {v['created']} {v['created']} - {b64(h['key'])}",
        "token key": derive(h["key"], "latchkey/token/v1").hex(),
        "sealing key": derive(h["key"], "latchkey/token/v2").hex(),
        "sealed token": sealed_token(v, h["key"], key_id, sid, h["secret"], h["token nonce"], 1),
        "placement": f"{placement:03x}",
        "session id": id_text(sid),
        "mac": mac.hex(),
        "token": text,
        "set-cookie": f"__Host-session={text}; Path=/; Max-Age={seconds}; HttpOnly; Secure; SameSite=Lax",
        "stored hash": stored.hex(),
        "wrap": wrapped.hex(),
        "sealed data": data.hex(),
        "record": record(v, stored, bytes(16), v["created"], wrapped, data).hex(),
        "rotate key": derive(h["key"], "latchkey/rotate/v1").hex(),
        "successor": successor.hex(),
        "successor token": token(h["key"], key_id, sid, successor)[1],
        "successor hash": hashlib.sha256(successor).hexdigest(),
        "rotated wrap": rewrapped.hex(),
        "rotated record": record(v, hashlib.sha256(successor).digest(), h["rotated patch id"], v["rotated"], rewrapped, data,
                                 (stored, h["rotate nonce"], key_id, v["grace end"], wrapped)).hex(),
        "audit event": json.dumps({
            "seq": 1, "time": v["created"], "action": "session.create", "actor": "user", "session": id_text(sid),
            "provider": v["provider"], "subject": v["subject"], "ip": v["ip"], "outcome": "done", "reason": "sign-in",
            "count": 0}, separators=(",", ":")),
    }


def read(path):
    """The values of the worked example: "name: value", continued on indented lines."""
    with open(path, encoding="utf-8") as f:
        blocks = re.findall(r"```vector\n(.*?)```", f.read(), re.S)
    values = {}
    for line in "".join(blocks).splitlines():
        if line.startswith("  "):
            values[name] += line.strip()
        elif line:
            name, value = line.split(": ", 1) if ": " in line else (line.rstrip(":"), "")
            values[name] = value
    return values


def main():
    values = read(sys.argv[1])
    want = compute(values)
    wrong = [n for n in want if values.get(n) != want[n]]
    for n in wrong:
        print(f"{n}: {want[n]}")
    if wrong:
        print(f"{len(wrong)} of {len(want)} values differ", file=sys.stderr)
        return 1
    print(f"{len(want)} values agree")
    return 0


if __name__ == "__main__":
    sys.exit(main())
