"""Writes further conformance cases, in the form of vectors/*.jsonl, to standard output.

Values come from the original libraries (itsdangerous, PyJWT, cryptography); where a system is
not packaged, its formula is made again here from the standard library. Nothing is random and the
clock is the case's, so every run writes the same bytes:

    python3 generate.py > generated/cases.jsonl
"""

import base64
import hashlib
import hmac
import json
import math
import sys
import zlib
from datetime import datetime, timedelta, timezone

import itsdangerous
import jwt
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

NOW = 1767323045
SECRET = "0123456789abcdef0123456789abcdef"
BAD = object()


def emit(fmt, op, name, given, want):
    # Answers are ASCII lines of JSON; so are the cases.
    print(json.dumps({"id": f"{fmt}/{op}/{name}", "format": fmt, "op": op, "in": given, "want": want}))


def ok(value):
    return {"ok": True, "value": value}


def no(code):
    return {"ok": False, "error": code}


# --- itsdangerous ---------------------------------------------------------------------------

DIGESTS = {n: staticmethod(getattr(hashlib, n)) for n in ("sha1", "sha256", "sha384", "sha512")}


def serializer(now=NOW, secrets=(SECRET,), salt="itsdangerous", digest="sha1", key_derivation="django-concat", timed=True, **_):
    class Signer(itsdangerous.TimestampSigner if timed else itsdangerous.Signer):
        default_digest_method = DIGESTS[digest]

        def get_timestamp(self):
            return int(now)

    base = itsdangerous.URLSafeTimedSerializer if timed else itsdangerous.URLSafeSerializer
    return base(list(secrets), salt=salt, signer=Signer, signer_kwargs={"key_derivation": key_derivation})


def settings(**changed):
    return {"secrets": [SECRET], "salt": "itsdangerous", "digest": "sha1", "key_derivation": "django-concat", "now": NOW, **changed}


def dumps(name, text, **changed):
    given = settings(**changed)
    value = json.loads(text)
    token = serializer(**given).dumps(value)
    if token.startswith("."):
        want = {"ok": True, "decodes_to": value, "compressed": True}
    else:
        want = ok(token)
    emit("itsdangerous", "dumps", name, {"payload_json": text, **given}, want)
    loads(name, token, max_age=0, **changed)


def outcome(token, given, max_age):
    try:
        return ok(serializer(**given).loads(token, max_age=max_age))
    except itsdangerous.SignatureExpired:
        return no("expired")
    except itsdangerous.BadSignature:
        return no("bad_signature")
    except itsdangerous.BadPayload:
        return no("bad_payload")


def loads(name, token, max_age=3600, **changed):
    given = settings(**changed)
    emit("itsdangerous", "loads", name, {"token": token, "max_age": max_age, **given}, outcome(token, given, max_age))


def b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def signed(payload, stamp=None, **changed):
    """A token of any text before the signature, which a holder of the key could make."""
    s = serializer(**settings(**changed))
    stamp = b64(NOW.to_bytes(4, "big")) if stamp is None else stamp
    value = payload + "." + stamp
    signer = s.make_signer(s.salt)
    return value + "." + signer.get_signature(value).decode()


def itsdangerous_cases():
    # No spellings that only junk makes (characters outside of base64, padding, spare bits, leading
    # zero bytes): readers may refuse them.
    texts = {
        "zero": "0", "minus_zero": "-0", "minus_zero_float": "-0.0", "true": "true", "false": "false", "empty_list": "[]", "spaces": ' \n\t{ "a" : [ 1 , 2 ] }\r ',
        "int_64": "9223372036854775808", "int_huge": "-" + "9" * 400, "exponent": "1e3", "exponent_up": "1E+2", "float_16": "1e16", "float_15": "123456789012345.6",
        "float_small": "0.0001", "float_smaller": "0.00001", "float_denormal": "5e-324", "float_max": "1.7976931348623157e308", "float_long": "0.1000000000000000055511151231257827",
        "float_third": "0.3333333333333333", "float_100": "100.0", "float_1e22": "1e22", "float_1e21": "1e21", "float_cut": "3.14159265358979323846",
        "duplicate": '{"a":1,"b":2,"a":3}', "duplicate_nested": '{"a":{"x":1},"a":{"y":2,"y":null}}', "empty_name": '{"":""}', "escaped_name": '{"\\u00e9\\n":1}',
        "pair": '"\\ud83d\\ude00"', "pair_upper": '"\\uD83D\\uDE00"', "escapes": '"\\/\\b\\f\\n\\r\\t\\\\\\""', "nul": '"\\u0000"', "c1": '"\\u0080\\u009f"', "del": '"\\u007f"',
        "bom": '"\\ufeffx"', "noncharacter": '"\\uffff\\ufffe"', "combining": '"e\\u0301 \\u00e9"', "rtl": '"\\u202eabc"', "astral": '"\\ud800\\udc00\\udbff\\udfff"',
        "deep": "[" * 60 + "]" * 60, "long_ascii": json.dumps("ab" * 3000), "long_cjk": json.dumps("漢" * 500, ensure_ascii=False),
        "long_random": json.dumps(b64(hashlib.sha512(b"x").digest() * 1) * 1), "list_of_floats": "[0.1,0.2,0.30000000000000004,1e-7,12345678.9]",
        "mixed": '{"z":null,"a":[true,{"b":[]}],"":{"c":-1.5e-10}}', "numbers_as_names": '{"1":1,"1.0":2,"01":3}',
    }  # fmt: skip
    for name, text in texts.items():
        dumps(name, text)
    i = 0
    for digest in DIGESTS:
        for derivation in ("django-concat", "concat", "hmac", "none"):
            dumps(f"{digest}_{derivation}", '{"n":%d}' % i, digest=digest, key_derivation=derivation, secrets=["old", "clé-秘密"], salt=["", "sél", "a.b", "signer"][i % 4])
            i += 1
    for name, secrets in {"secret_empty": [""], "secret_nul": ["a\0b"], "secret_block": ["k" * 64], "secret_block_1": ["k" * 65], "secret_sha512_block": ["k" * 129], "secrets_same": ["x", "x"]}.items():
        dumps(name, "[1]", secrets=secrets, key_derivation="none")
        dumps(name + "_hmac", "[1]", secrets=secrets, key_derivation="hmac", digest="sha512")
    for now in (0, 1, 255, 256, 65535, 65536, 16777216, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 253402300799):
        dumps(f"at_{now}", '"x"', now=now)
    token = serializer().dumps({"u": 1})
    for max_age in (None, -1, 0, 0.5, 1, 59, 60, 60.5, 61, 10**9, 10**12):
        for age in (-(10**9), -1, 0, 1, 59, 60, 61, 10**9):
            loads(f"max_{max_age}_age_{age}", token, max_age=max_age, now=NOW + age)
    payload, stamp, sig = token.split(".")
    other = serializer(salt="other").dumps({"u": 1})
    for name, text in {
        "empty": "", "dot": ".", "three_dots": "...", "no_payload": f".{stamp}.{sig}", "no_stamp": f"{payload}..{sig}", "no_signature": f"{payload}.{stamp}.", "swapped": f"{stamp}.{payload}.{sig}",
        "cut": token[:-1], "longer": token + "A", "leading_space": " " + token, "upper": token.upper(), "nul": token + "\0", "half": token[: len(token) // 2],
        "twice": token + "." + token, "dot_in_front": "." + token, "other_salt": other, "other_salt_signature": f"{payload}.{stamp}." + other.split(".")[2], "just_signature": sig, "comma": token.replace(".", ","),
        "signature_sha256": f"{payload}.{stamp}." + b64(bytes(32)), "zero_signature": f"{payload}.{stamp}." + b64(bytes(20)), "untimed": serializer(timed=False).dumps({"u": 1}),
    }.items():  # fmt: skip
        loads("text_" + name, text)
    z = lambda data, level=9: "." + b64(zlib.compress(data, level))
    raw = zlib.compressobj(9, zlib.DEFLATED, -15)
    raw = raw.compress(b'"x"') + raw.flush()
    gzip = zlib.compressobj(9, zlib.DEFLATED, 31)
    gzip = gzip.compress(b'"x"') + gzip.flush()
    small = zlib.compressobj(9, zlib.DEFLATED, 9)
    small = small.compress(b'"' + b"y" * 3000 + b'"') + small.flush()
    good = zlib.compress(b'"hello"')
    for name, payload in {
        "not_json": b64(b"x"), "empty": "", "only_dot": ".", "json_empty_string": b64(b'""'), "spaces": b64(b" "), "two_values": b64(b"1 2"), "trailing_comma": b64(b"[1,]"), "single_quotes": b64(b"'a'"),
        "bom": b64(b"\xef\xbb\xbf1"), "latin1": b64(b'"\xe9"'), "overlong": b64(b'"\xc0\xaf"'), "utf8_surrogate": b64(b'"\xed\xa0\x80"'), "utf16": b64('"a"'.encode("utf-16")), "control": b64(b'"\n"'), "nul": b64(b"\0"),
        "plus": b64(b"+1"), "leading_zero": b64(b"01"), "dot_number": b64(b".5"), "number_dot": b64(b"5."), "hex": b64(b"0x10"), "big_exponent": b64(b"1e+308"), "bad_escape": b64(b'"\\x41"'), "short_escape": b64(b'"\\u12"'),
        "lone_surrogate": b64(b'"\\ud800"'), "lone_low": b64(b'"a\\udc00b"'), "wrong_order": b64(b'"\\udc00\\ud800"'), "two_high": b64(b'"\\ud800\\ud800\\udc00"'), "comment": b64(b"1//x"), "vt": b64(b"\x0b1"), "nbsp": b64("\u00a01".encode()),
        "one_char": "A", "five_chars": "AAAAA", "stored": z(b'"hello"', 0), "level_1": z(b'"' + b"ab" * 100 + b'"', 1), "level_9": z(b'"' + b"ab" * 100 + b'"', 9), "small_window": "." + b64(small), "of_nothing": z(b""),
        "could_have_been": b64(b'"' + b"a" * 500 + b'"'), "raw_deflate": "." + b64(raw), "gzip": "." + b64(gzip), "cut": "." + b64(good[:-1]), "no_checksum": "." + b64(good[:-4]), "bad_checksum": "." + b64(good[:-1] + b"\0"),
        "behind_it": "." + b64(good + b"more"), "two_streams": "." + b64(good + good), "compressed_not_json": z(b"nope"), "compressed_bad_utf8": z(b'"\xff"'), "twice_compressed": z(zlib.compress(b'"x"')), "bad_header": ".AAAA", "dictionary": "." + b64(b"\x78\xbb" + bytes(8)),
        "inner_dot": b64(b'"a"') + "." + b64(b'"b"'), "two_dots": ".." + b64(b'"a"'),
    }.items():  # fmt: skip
        loads("payload_" + name, signed(payload), max_age=None)
    one = b64(b"1")
    for name, stamp in {"2_bytes": b64(b"\x01\x00"), "5_bytes": b64(b"\x01\x00\x00\x00\x00"), "9_bytes": b64(b"\x01" * 9), "one_char": "A", "6_chars": "BBCDEA", "12_bytes": b64(b"\x01" * 12), "empty": ""}.items():
        loads("stamp_" + name, signed(one, stamp), max_age=None)
        loads("stamp_" + name + "_aged", signed(one, stamp), max_age=10)
    for name, secrets in {"oldest": ["a" * 32, "b" * 32, "c" * 32], "one_gone": ["b" * 32, "c" * 32], "reversed": ["c" * 32, "b" * 32, "a" * 32], "none_left": ["d" * 32]}.items():
        loads("rotation_" + name, serializer(secrets=["a" * 32]).dumps(name), secrets=secrets)


# --- reflow ---------------------------------------------------------------------------------


def iso(t):
    return t.isoformat().replace("+00:00", "Z")


def reflow_cookie(payload, salt="reflow-session-v1", now=NOW):
    return serializer(now=now, salt=salt).dumps(payload)


def reflow_cases():
    fields = {"sub": "alice", "email": None, "name": "alice", "provider_id": "basic", "issued_at": "2026-01-02T03:04:05.678901Z", "expires_at": "2026-01-02T11:04:05.678901Z"}

    def decode(name, payload, want=BAD, now=NOW + 1, max_age=28800, salt="reflow-session-v1", cookie=None):
        cookie = reflow_cookie(payload, salt) if cookie is None else cookie
        answer = no("invalid") if want is BAD else ok(want)
        emit("reflow", "decode", name, {"cookie": cookie, "secret": SECRET, "max_age": max_age, "now": now}, answer)

    same = lambda **changed: {**fields, **changed}
    decode("plain", fields, fields)
    for name, changed in {
        "unicode": {"sub": "Zoë 漢字 🎲", "name": "\u2028<>&"}, "empty_sub": {"sub": ""}, "empty_email": {"email": ""}, "long": {"name": "n" * 2000}, "control": {"name": "\0\x1f\x7f"}, "no_fraction": {"issued_at": "2026-01-02T03:04:05Z"},
        "past_its_own_end": {"expires_at": "2020-01-01T00:00:00Z"}, "offset": {"issued_at": "2026-01-02T08:34:05+05:30"}, "negative_offset": {"issued_at": "2026-01-01T22:04:05.000001-05:00"}, "naive": {"issued_at": "2026-01-02T03:04:05"},
    }.items():  # fmt: skip
        decode(name, same(**changed), same(**changed))
    decode("extra", same(admin=True, roles=["x"]), fields)
    decode("order", dict(reversed(fields.items())), fields)
    decode("milliseconds", same(issued_at="2026-01-02T03:04:05.678Z"), same(issued_at="2026-01-02T03:04:05.678000Z"))
    decode("zero_fraction", same(issued_at="2026-01-02T03:04:05.000Z"), same(issued_at="2026-01-02T03:04:05Z"))
    decode("zero_offset", same(issued_at="2026-01-02T03:04:05+00:00"), same(issued_at="2026-01-02T03:04:05Z"))
    decode("space", same(issued_at="2026-01-02 03:04:05Z"), same(issued_at="2026-01-02T03:04:05Z"))
    decode("seconds", same(issued_at=NOW), same(issued_at="2026-01-02T03:04:05Z"))
    decode("seconds_float", same(issued_at=NOW + 0.5), same(issued_at="2026-01-02T03:04:05.500000Z"))
    decode("seconds_zero", same(issued_at=0), same(issued_at="1970-01-01T00:00:00Z"))
    decode("seconds_negative", same(issued_at=-1), same(issued_at="1969-12-31T23:59:59Z"))
    decode("no_email_no_name", {k: v for k, v in fields.items() if k not in ("email", "name")}, same(email=None, name=None))
    for missing in ("sub", "provider_id", "issued_at", "expires_at"):
        decode("no_" + missing, {k: v for k, v in fields.items() if k != missing})
    for name, changed in {
        "sub_number": {"sub": 1}, "sub_null": {"sub": None}, "sub_list": {"sub": ["a"]}, "email_number": {"email": 1}, "email_bool": {"email": False}, "name_object": {"name": {}}, "provider_bool": {"provider_id": True},
        "date_null": {"issued_at": None}, "date_word": {"issued_at": "now"}, "date_empty": {"issued_at": ""}, "date_list": {"issued_at": []}, "date_month_13": {"issued_at": "2026-13-01T00:00:00Z"}, "date_feb_30": {"issued_at": "2026-02-30T00:00:00Z"},
        "date_hour_24": {"issued_at": "2026-01-02T24:00:00Z"}, "date_bool": {"expires_at": True}, "date_object": {"expires_at": {}},
    }.items():  # fmt: skip
        decode(name, same(**changed))
    for name, payload in {"null": None, "number": 5, "string": "alice", "list": [fields], "empty": {}}.items():
        decode("payload_" + name, payload)
    decode("salt_tx", fields, salt="reflow-oauth-tx-v1")
    decode("salt_default", fields, salt="itsdangerous")
    for age, max_age in ((0, 0), (1, 0), (300, 300), (301, 300), (-1, 300), (28800, 28800), (28801, 28800)):
        good = 0 <= age <= max_age
        decode(f"age_{age}_of_{max_age}", fields, fields if good else BAD, now=NOW + age, max_age=max_age)
    for name, cookie in {"empty": "", "quoted": '""', "word": "x", "dots": "..", "null": None}.items():
        emit("reflow", "decode", "cookie_" + name, {"cookie": cookie, "secret": SECRET, "max_age": 10, "now": NOW}, no("invalid"))
    for i, (value, secret) in enumerate([("", SECRET), ("x", ""), ("é", "clé"), ("x" * 4000, SECRET), (".a.b", "k" * 65)]):
        emit("reflow", "csrf", f"more_{i}", {"session_value": value, "secret": secret}, ok(hmac.new(secret.encode(), value.encode(), hashlib.sha256).hexdigest()))
    for ttl, elapsed in ((1, 0.5), (1, 0.500001), (3, 1.5), (3, 1.500001), (0.000001, 0.000001), (0.000003, 0.000001), (0.000003, 0.000002), (28800, 14400), (28800, 14400.000001), (28800, 0), (28800, -5), (2592000, 1296000.5), (-10, -4), (-10, -6), (86400, 86400)):
        want = timedelta(seconds=elapsed) > timedelta(seconds=ttl) / 2
        emit("reflow", "should_reissue", f"{ttl}_{elapsed}", {"ttl_seconds": ttl, "elapsed_seconds": elapsed}, ok(want))
    for i, verifier in enumerate(["", "a", "~._-" * 20, "é", "x" * 128]):
        emit("reflow", "pkce_s256", f"more_{i}", {"verifier": verifier}, ok(b64(hashlib.sha256(verifier.encode()).digest())))
    tx = {"state": "s" * 43, "nonce": "n" * 43, "verifier": "v" * 86, "next_path": "/é?a=b#c", "provider_id": "oidc"}
    for name, payload, good in (("full", tx, True), ("empty", {}, True), ("extra", {**tx, "x": [1, None]}, True), ("number", {"state": 1}, True), ("list", [tx], False), ("text", "s", False), ("null", None, False)):
        emit("reflow", "tx_decode", name, {"cookie": reflow_cookie(payload, "reflow-oauth-tx-v1"), "secret": SECRET, "max_age": 600, "now": NOW}, ok(payload) if good else no("invalid"))
    for age in (-1, 0, 600, 601):
        want = ok(tx) if 0 <= age <= 600 else no("invalid")
        emit("reflow", "tx_decode", f"age_{age}", {"cookie": reflow_cookie(tx, "reflow-oauth-tx-v1"), "secret": SECRET, "max_age": 600, "now": NOW + age}, want)
    emit("reflow", "tx_decode", "session_salt", {"cookie": reflow_cookie(tx), "secret": SECRET, "max_age": 600, "now": NOW}, no("invalid"))


# --- cb -------------------------------------------------------------------------------------


def cb_cases():
    for i, raw in enumerate(["", "a", "Zoë 漢字", "x" * 1000, "\0", '"']):
        emit("cb", "token_hash", f"more_{i}", {"raw": raw}, ok(hashlib.sha256(raw.encode()).hexdigest()))
    for i, raw in enumerate(["", "a", "é", '"\\', "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"]):
        for salt, now in (("session", NOW), ("", 0), ("admin", 2**32)):
            emit("cb", "cookie", f"more_{i}_{salt or 'empty'}", {"raw": raw, "secret": SECRET, "salt": salt, "now": now}, ok(serializer(salt=salt, now=now).dumps(raw)))
    raw = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"
    row = {"token_hash": hashlib.sha256(raw.encode()).hexdigest(), "expires_at": "2026-02-01T03:04:05.678901+00:00", "revoked_at": None}

    def text(now):
        return datetime.fromtimestamp(now, timezone.utc).isoformat()

    def lookup(name, payload=raw, now=NOW, days=30, salt="session", sign=SECRET, cookie=None, row=row):
        if cookie is None:
            cookie = serializer(salt=salt, secrets=[sign]).dumps(payload)
        try:
            value = serializer(now=now, salt="session").loads(cookie, max_age=days * 86400)
            hold = row is not None and isinstance(value, str) and row["token_hash"] == hashlib.sha256(value.encode()).hexdigest()
            hold = hold and row["revoked_at"] is None and row["expires_at"] > text(now)
        except itsdangerous.BadData:
            hold = False
        emit("cb", "lookup", name, {"cookie": cookie, "secret": SECRET, "salt": "session", "now": now, "row": row, "session_max_days": days}, ok(True) if hold else no("invalid"))

    lookup("fresh")
    end = int(datetime.fromisoformat(row["expires_at"]).timestamp())
    for days in (0, 1, 29, 30, 31):
        for now in (NOW - 1, NOW, NOW + 1, NOW + 86400, NOW + 86401, NOW + 30 * 86400, NOW + 30 * 86400 + 1):
            lookup(f"days_{days}_at_{now - NOW}", now=now, days=days)
    for fraction in (0.5, 0.678900, 0.678901, 0.678902, 0.75):
        lookup(f"micro_{fraction}", now=end + fraction, days=40)
    for name, changed in {
        "revoked": {"revoked_at": "2026-01-03T00:00:00+00:00"}, "revoked_in_future": {"revoked_at": "2099-01-01T00:00:00+00:00"}, "revoked_empty": {"revoked_at": ""}, "other_hash": {"token_hash": "0" * 64},
        "upper_hash": {"token_hash": row["token_hash"].upper()}, "raw_as_hash": {"token_hash": raw}, "empty_hash": {"token_hash": ""}, "no_fraction": {"expires_at": "2026-02-01T03:04:05+00:00"}, "now_exactly": {"expires_at": text(NOW)},
        "just_after": {"expires_at": "2026-01-02T03:04:05.000001+00:00"}, "just_before": {"expires_at": "2026-01-02T03:04:04.999999+00:00"}, "far": {"expires_at": "9999-12-31T23:59:59+00:00"}, "past": {"expires_at": "1970-01-01T00:00:00+00:00"},
        "empty_expiry": {"expires_at": ""},
    }.items():  # fmt: skip
        lookup("row_" + name, row={**row, **changed})
    lookup("row_none", row=None)
    for name, payload in {"null": None, "number": 5, "list": [raw], "object": {"raw": raw}, "other": "other", "empty": ""}.items():
        lookup("payload_" + name, payload)
    lookup("other_salt", salt="sessions")
    lookup("other_secret", sign="x" * 32)
    lookup("not_json", cookie=signed(b64(b"x"), salt="session"))
    for name, cookie in {"empty": "", "word": "x", "raw": raw, "dots": "..", "untimed": serializer(timed=False, salt="session").dumps(raw)}.items():
        lookup("cookie_" + name, cookie=cookie)


# --- crossauth ------------------------------------------------------------------------------


def mac(text, secret):
    return hmac.new(secret.encode(), text.encode(), hashlib.sha256).hexdigest()


def unpadded(b):
    return base64.urlsafe_b64encode(b).decode().replace("=", "")


def padded(s):
    return base64.urlsafe_b64decode(s + "=" * (-len(s) % 4))


def xor(a, b):
    return unpadded(bytes(x ^ y for x, y in zip(padded(a), padded(b))))


def unsign(value, secret):
    parts = value.split(".")
    if len(parts) != 2 or parts[1] != mac(parts[0], secret):
        raise ValueError
    return parts[0]


def csrf_validate(cookie, header, secret):
    parts = header.split(".")
    if len(parts) != 2:
        raise ValueError
    if unsign(cookie, secret) != xor(parts[1], parts[0]):
        raise ValueError


def crossauth_cases():
    for i, text in enumerate(["a", "PLAINTEXT", "\0", "🎲" * 50, "\n", "x" * 65, "Ünïcödé", "\u2028"]):
        emit("crossauth", "hash", f"more_{i}", {"text": text}, ok(unpadded(hashlib.sha256(text.encode()).digest())))
        emit("crossauth", "hash_session_id", f"more_{i}", {"session_id": text}, ok("s:" + unpadded(hashlib.sha256(text.encode()).digest())))
    token, secret = "AAECAwQFBgcICQoLDA0ODw", "ABCDEFGHIJKLMNOPQRSTUVWX"
    for i, (t, s) in enumerate([("a-b_c", secret), ("é", secret), (token, "k" * 64), (token, "k" * 65), ("x" * 500, "\0"), (" ", " "), ("a.b", secret)]):
        emit("crossauth", "sign_secure_token", f"more_{i}", {"token": t, "secret": s}, ok(t + "." + mac(t, s)))
    good = token + "." + mac(token, secret)
    for name, value in {
        "good": good, "empty": "", "dot": ".", "dots": "..", "three_parts": good + ".x", "trailing_dot": good + ".", "leading_dot": "." + good, "cut": good[:-1], "longer": good + "0", "space": good + " ", "newline": good + "\n", "upper": good.upper(),
        "only_signature": mac(token, secret), "no_signature": token + ".", "empty_token": "." + mac("", secret), "other_secret": token + "." + mac(token, "x"), "unicode": "é." + mac("é", secret), "dotted": "a.b." + mac("a.b", secret),
    }.items():  # fmt: skip
        try:
            want = ok(unsign(value, secret))
        except ValueError:
            want = no("invalid")
        emit("crossauth", "unsign_secure_token", name, {"value": value, "secret": secret}, want)
    for i in range(8):
        t, m = hashlib.sha256(b"t%d" % i).digest()[:16], hashlib.sha256(b"m%d" % i).digest()[:16]
        emit("crossauth", "mask_csrf_token", f"more_{i}", {"token": unpadded(t), "mask_bytes_hex": m.hex()}, ok(unpadded(m) + "." + xor(unpadded(t), unpadded(m))))
    for name, m in {"zero": bytes(16), "ones": b"\xff" * 16, "itself": padded(token)}.items():
        emit("crossauth", "mask_csrf_token", name, {"token": token, "mask_bytes_hex": m.hex()}, ok(unpadded(m) + "." + xor(token, unpadded(m))))
    mask = unpadded(bytes(range(16, 32)))
    header = mask + "." + xor(token, mask)
    other = unpadded(bytes(16))
    for name, (c, h) in {
        "good": (good, header), "zero_mask": (good, other + "." + token), "other_token": (good, mask + "." + xor(other, mask)), "empty_header": (good, ""), "dot": (good, "."), "three_parts": (good, header + ".x"), "no_mask": (good, "." + token),
        "no_token": (good, mask + "."), "longer_mask": (good, unpadded(bytes(range(16, 48))) + "." + xor(token, mask)), "longer_token": (good, mask + "." + xor(token, mask) + "AAAA"), "swapped": (good, header.split(".")[1] + "." + mask), "padded": (good, mask + "==." + xor(token, mask) + "=="),
        "space": (good, header + " "), "one_char": (good, "A.A"), "unicode": (good, "é.é"), "cookie_is_header": (header, header), "header_is_cookie": (good, good), "no_cookie_signature": (token, header), "other_cookie": (other + "." + mac(other, secret), header),
        "other_secret": (token + "." + mac(token, "x"), header), "cookie_dot": (".", header), "newline": (good, header + "\n"),
    }.items():  # fmt: skip
        try:
            csrf_validate(c, h, secret)
            want = ok(True)
        except ValueError:  # binascii.Error is one
            want = no("invalid")
        emit("crossauth", "csrf_validate", name, {"cookie": c, "header": h, "secret": secret}, want)


# --- session_cache --------------------------------------------------------------------------


def cache_get(now, cached, marker):
    if cached is None:
        return False
    now = datetime.fromtimestamp(now, timezone.utc)
    if cached.get("session_expire"):
        expire = datetime.fromisoformat(cached["session_expire"])
        if expire.tzinfo is None:
            expire = expire.replace(tzinfo=timezone.utc)
        if expire < now:
            return False
    if cached.get("user_id"):
        if marker and float(marker) > cached.get("cached_at", 0):
            return False
    for name in ("user_id", "email", "name", "email_verified", "tier"):
        cached[name]
    datetime.fromisoformat(cached["created_at"]), datetime.fromisoformat(cached["updated_at"])
    return True


def session_cache_cases():
    for i, token in enumerate(["", "a" * 300, "漢字", "a.b-c_d=="]):
        emit("session_cache", "key", f"more_{i}", {"token": token}, ok("session_cache:" + hashlib.sha256(token.encode()).hexdigest()[:32]))
    for ttl in (300, 1, 0, 86400):
        for left in (-86400, -0.5, 0, 0.999, 1, 1.999, 299.999, 300, 300.5, 1e9, None):
            want = ttl if left is None else min(ttl, max(1, int(left)))
            emit("session_cache", "ttl", f"{ttl}_{left}", {"ttl_seconds": ttl, "session_remaining": left}, ok(want))
    entry = {"user_id": "u1", "email": "p@example.com", "name": "Zoë", "email_verified": True, "tier": "free", "created_at": "2025-11-14T12:00:00+00:00", "updated_at": "2025-11-14T12:00:00.123456+00:00",
             "session_expire": "2026-01-03T03:04:05+00:00", "cached_at": 1767323045.5}  # fmt: skip
    t = 1767323046.0

    def get(name, now=t, marker=None, cached=entry):
        try:
            hit = cache_get(now, cached, marker)
        except (KeyError, ValueError, TypeError):
            hit = False
        emit("session_cache", "get", name, {"now": now, "cached": cached, "marker": marker}, ok(True) if hit else no("miss"))

    get("plain")
    for marker in ("1767323045.5", "1767323045.500001", "1767323045.499999", "1767323045", "0", "-1", "1e10", "inf", "-inf", " 1767323044.0 ", "1_767_323_044", "", "x", "1767323046,0", "0x10", "nan", "-NaN", "1e3000"):
        get("marker_" + marker.strip().replace(" ", "_"), marker=marker)
    end = datetime.fromisoformat(entry["session_expire"]).timestamp()
    for name, now in {"second_before": end - 1, "at_end": end, "after": end + 0.000001 * 2, "second_after": end + 1}.items():
        get("ends_" + name, now=now)
    for name, expire in {"none": None, "empty": "", "naive": "2026-01-02T03:04:06", "naive_past": "2026-01-02T03:04:05.999999", "zone": "2026-01-02T04:04:06+01:00", "zone_past": "2026-01-02T04:04:05+01:00", "z": "2026-01-02T03:04:06Z", "word": "later", "date": "2026-01-03", "number": 5, "false": False, "space": "2026-01-03 00:00:00"}.items():
        get("expire_" + name, cached={**entry, "session_expire": expire})
    for missing in entry:
        get("without_" + missing, cached={k: v for k, v in entry.items() if k != missing})
        get("without_" + missing + "_marked", cached={k: v for k, v in entry.items() if k != missing}, marker="1")
    for name, changed in {"no_user": {"user_id": ""}, "null_user": {"user_id": None}, "number_user": {"user_id": 7}, "created_number": {"created_at": 5}, "created_null": {"created_at": None}, "created_date": {"created_at": "2025-11-14"}, "created_word": {"created_at": "x"}, "updated_empty": {"updated_at": ""},
                          "verified_text": {"email_verified": "yes"}, "extra": {"x": [1]}, "cached_int": {"cached_at": 1767323045}, "cached_text": {"cached_at": "1767323045.5"}, "cached_null": {"cached_at": None}, "cached_true": {"cached_at": True}}.items():  # fmt: skip
        get(name, cached={**entry, **changed})
        get(name + "_marked", cached={**entry, **changed}, marker="1767323045.25")
        get(name + "_marked_late", cached={**entry, **changed}, marker="1767323045.75")
    get("nothing", cached=None)
    get("nothing_marked", cached=None, marker="1")
    get("empty", cached={})


# --- apicrud --------------------------------------------------------------------------------


def apicrud_cases():
    iv = bytes(range(16))
    for i, (secret, text) in enumerate([("", ""), ("s", "x"), ("clé", "a" * 15), ("s", "a" * 16), ("s", "a" * 17), ("k" * 200, json.dumps({"é": "漢🎲", "n": None})), ("s", "\0\n"), ("s", "x" * 5000)]):
        pad = 16 - len(text) % 16
        e = Cipher(algorithms.AES(hashlib.sha256(secret.encode()).digest()), modes.CBC(iv)).encryptor()
        value = base64.b64encode(iv + e.update((text + pad * chr(pad)).encode()) + e.finalize()).decode()
        emit("apicrud", "encrypt", f"more_{i}", {"secret": secret, "iv_hex": iv.hex(), "plaintext": text}, ok(value))
        emit("apicrud", "decrypt", f"more_{i}", {"secret": secret, "value": value}, ok(text))
    for i, (uid, token) in enumerate([("u", ""), ("u", "a"), ("u", "abc"), ("", "abcd"), ("a:b", "x:yz"), ("漢", "éüñ字"), ("u", "🎲🔐ab")]):
        emit("apicrud", "key", f"more_{i}", {"uid": uid, "token": token}, ok(f"ses:{uid}:{token[-3:]}"))
    for i, (claims, secret) in enumerate([({}, "s"), ({"é": "漢🎲"}, "clé"), ({"z": 1, "a": [1.5, None, True]}, "s" * 100), ({"exp": "1767330245"}, "s"), ({"n": 2**70, "f": 1e-7, "t": "\u2028<>&/\x7f"}, ""), ({"a": {"b": {}}}, "s")]):
        emit("apicrud", "jwt", f"more_{i}", {"claims": claims, "secret": secret}, ok(jwt.encode(claims, secret, algorithm="HS256")))


if __name__ == "__main__":
    assert math.isclose(NOW, 1767323045) and sys.version_info >= (3, 11)
    for cases in (itsdangerous_cases, reflow_cases, cb_cases, crossauth_cases, session_cache_cases, apicrud_cases):
        cases()
