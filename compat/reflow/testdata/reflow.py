"""Reflow's sign-in, as far as cookies go, re-made with the original's libraries.

itsdangerous signs, http.cookies writes Set-Cookie, as Starlette has it do. A line of JSON in is
a request, a line out its answer. "now" is the clock, in Unix seconds.
"""

import hashlib
import hmac
import json
import secrets
import sys
import time
from datetime import datetime, timedelta, timezone
from http.cookies import SimpleCookie

from itsdangerous import BadSignature, SignatureExpired, URLSafeTimedSerializer

SECRET, TTL, NAME = sys.argv[1], int(sys.argv[2]), "reflow_session"
SESSION = URLSafeTimedSerializer(SECRET, salt="reflow-session-v1")
TX = URLSafeTimedSerializer(SECRET, salt="reflow-oauth-tx-v1")

now = 0.0
time.time = lambda: now


def csrf(session):
    return hmac.new(SECRET.encode(), session.encode(), hashlib.sha256).hexdigest()


def cookie(name, value, max_age, httponly=True):
    c = SimpleCookie()
    c[name] = value
    c[name]["max-age"], c[name]["path"], c[name]["samesite"], c[name]["secure"] = max_age, "/", "lax", True
    if httponly:
        c[name]["httponly"] = True
    return c.output(header="").strip()


def stamp(at):
    """A date as pydantic writes it."""
    return at.isoformat().replace("+00:00", "Z")


def pair(sub, email, name, provider):
    issued = datetime.fromtimestamp(now, timezone.utc)
    expires = issued + timedelta(seconds=TTL)
    value = SESSION.dumps({"sub": sub, "email": email, "name": name, "provider_id": provider,
                           "issued_at": stamp(issued), "expires_at": stamp(expires)})
    return [cookie(NAME, value, TTL), cookie(NAME + "_csrf", csrf(value), TTL, httponly=False)]


def decode(value):
    try:
        identity = SESSION.loads(value, max_age=TTL)
    except (SignatureExpired, BadSignature):
        return None
    for field in ("issued_at", "expires_at"):
        identity[field] = datetime.fromisoformat(identity[field].replace("Z", "+00:00"))
    return identity


def past_half(identity):
    lifetime = identity["expires_at"] - identity["issued_at"]
    return datetime.fromtimestamp(now, timezone.utc) - identity["issued_at"] > lifetime / 2


def request(case):
    """A request that is answered 200, through the middleware."""
    identity = decode(case["session"])
    if identity is None:
        return {"sub": None, "set_cookie": []}
    lines = []
    if past_half(identity):
        lines = pair(identity["sub"], identity["email"], identity["name"], identity["provider_id"])
    return {"sub": identity["sub"], "name": identity["name"], "expires_at": identity["expires_at"].isoformat(), "set_cookie": lines}


def logout(case):
    if decode(case["session"]) is None:
        return {"status": 401, "set_cookie": []}
    if not secrets.compare_digest(csrf(case["session"]), case["csrf"]):
        return {"status": 403, "set_cookie": []}
    return {"status": 200, "set_cookie": [cookie(NAME, "", 0), cookie(NAME + "_csrf", "", 0, httponly=False)]}


def begin(case):
    tx = {"state": secrets.token_urlsafe(32), "nonce": secrets.token_urlsafe(32), "verifier": secrets.token_urlsafe(64),
          "next_path": case["next"], "provider_id": case["provider"]}
    return {"tx": tx, "set_cookie": [cookie("reflow_oauth_tx", TX.dumps(tx), 600)]}


def callback(case):
    try:
        tx = TX.loads(case["tx"], max_age=600)
    except SignatureExpired:
        return {"status": 400, "detail": "oauth tx expired"}
    except BadSignature:
        return {"status": 400, "detail": "oauth tx invalid"}
    if tx["provider_id"] != case["provider"] or not secrets.compare_digest(tx["state"], case["state"]):
        return {"status": 400, "detail": "authentication failed"}
    return {"status": 302, "tx": tx, "set_cookie": [cookie("reflow_oauth_tx", "", 0)]}


def login(case):
    return {"set_cookie": pair(case["sub"], None, case["sub"], "basic")}


for line in sys.stdin:
    asked = json.loads(line)
    now = asked["now"]
    print(json.dumps(globals()[asked["op"]](asked)), flush=True)
