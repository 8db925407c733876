"""Answers cases with the original libraries: itsdangerous, PyJWT, cryptography.

A case a line, {"op", ...}; an answer a line, {"value"} or {"error": name of the exception}.
Where a system is not packaged, its formula is made again here from those libraries.
"""

import base64
import hashlib
import hmac
import json
import sys
from datetime import datetime, timezone

import itsdangerous
import jwt
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

DIGESTS = {n: staticmethod(getattr(hashlib, n)) for n in ("sha1", "sha256", "sha384", "sha512")}


def serializer(c):
    class Signer(itsdangerous.TimestampSigner if c["timed"] else itsdangerous.Signer):
        default_digest_method = DIGESTS[c["digest"]]

        def get_timestamp(self):
            return c["now"]

    base = itsdangerous.URLSafeTimedSerializer if c["timed"] else itsdangerous.URLSafeSerializer
    return base(c["secrets"], salt=c["salt"], signer=Signer, signer_kwargs={"key_derivation": c["key_derivation"], "sep": c.get("sep", ".")})


def dumps(c):
    return serializer(c).dumps(json.loads(c["payload_json"]))


def loads(c):
    s = serializer(c)
    value = s.loads(c["token"], max_age=c["max_age"]) if c["timed"] else s.loads(c["token"])
    return json.dumps(value)


def cbc(key, iv):
    return Cipher(algorithms.AES(key), modes.CBC(iv))


def aes(key, iv, text):
    e = cbc(key, iv).encryptor()
    pad = 16 - len(text) % 16
    return e.update((text + pad * chr(pad)).encode()) + e.finalize()


def unaes(key, iv, data):
    d = cbc(key, iv).decryptor()
    text = d.update(data) + d.finalize()
    return text[: -text[-1]].decode()


def apicrud_encrypt(c):
    iv = bytes.fromhex(c["iv"])
    return base64.b64encode(iv + aes(hashlib.sha256(c["secret"].encode()).digest(), iv, c["text"])).decode()


def apicrud_decrypt(c):
    data = base64.b64decode(c["value"])
    return unaes(hashlib.sha256(c["secret"].encode()).digest(), data[:16], data[16:])


def unpadded(b):
    return base64.urlsafe_b64encode(b).decode().replace("=", "")


def padded(s):
    return base64.urlsafe_b64decode(s + "=" * (-len(s) % 4))


def crossauth_encrypt(c):
    iv = bytes.fromhex(c["iv"])
    return unpadded(iv) + "." + unpadded(aes(padded(c["key"]), iv, c["text"]))


def crossauth_decrypt(c):
    iv, data = c["value"].split(".")
    return unaes(padded(c["key"]), padded(iv), padded(data))


def crossauth_sign(c):
    payload = {**json.loads(c["payload_json"]), "t": c["t"], "s": c["salt"]}
    text = base64.urlsafe_b64encode(json.dumps(payload).encode()).decode()
    return text + "." + hmac.new(c["secret"].encode(), text.encode(), hashlib.sha256).hexdigest()


def crossauth_password(c):
    key = hashlib.pbkdf2_hmac(c["digest"], c["password"].encode(), c["salt"].encode(), c["iterations"], dklen=c["length"])
    return ":".join(["pbkdf2", c["digest"], str(c["length"]), str(c["iterations"]), "0", c["salt"], base64.urlsafe_b64encode(key).decode()])


def jwt_encode(c):
    return jwt.encode(json.loads(c["claims_json"]), c["secret"], algorithm="HS256")


def jwt_decode(c):
    options = {"verify_exp": False, "verify_iat": False, "verify_nbf": False, "verify_aud": False}
    return json.dumps(jwt.decode(c["token"], c["secret"], algorithms=["HS256"], options=options))


def base64_decode(c):
    s = c["text"]
    return base64.urlsafe_b64decode(s + "="[: len(s) % 4 == 3] + "=="[: 2 * (len(s) % 4 == 2)] + "==="[: 3 * (len(s) % 4 == 1)]).hex()


def iso(c):
    t = datetime.fromisoformat(c["text"])
    return t.isoformat() if t.tzinfo is None else t.astimezone(timezone.utc).isoformat()


def real(c):
    return repr(float(c["text"]))


def json_default(c):
    return json.dumps(json.loads(c["text"]))


OPS = [dumps, loads, apicrud_encrypt, apicrud_decrypt, crossauth_encrypt, crossauth_decrypt, crossauth_sign, crossauth_password,
       jwt_encode, jwt_decode, base64_decode, iso, real, json_default]  # fmt: skip

if __name__ == "__main__":
    ops = {f.__name__: f for f in OPS}
    for line in sys.stdin.buffer:
        case = json.loads(line)
        try:
            answer = {"value": ops[case["op"]](case)}
        except Exception as e:
            answer = {"error": type(e).__name__}
        print(json.dumps(answer), flush=True)
