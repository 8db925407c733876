"""SessionCacheService re-made from the keys and texts it leaves in Redis, over redis-py.

A line of JSON in, a line out:
  {"op": "get", "token": T}                                  -> user or null
  {"op": "set", "token": T, "user": {...}, "expire": ISO|null} -> true
  {"op": "invalidate_token", "token": T}                     -> bool
  {"op": "invalidate_user", "user": ID}                      -> true
"""
import hashlib
import json
import sys
import time
from datetime import datetime, timezone

import redis

TTL = 300
REMEMBER = 30 * 24 * 3600

r = redis.Redis.from_url(sys.argv[1], decode_responses=True)


def key(token):
    return "session_cache:" + hashlib.sha256(token.encode()).hexdigest()[:32]


def get(token):
    text = r.get(key(token))
    if text is None:
        return None
    entry = json.loads(text)
    expire = entry.get("session_expire")
    if expire:
        at = datetime.fromisoformat(expire)
        if at.tzinfo is None:
            at = at.replace(tzinfo=timezone.utc)
        if at < datetime.now(timezone.utc):
            r.delete(key(token))
            return None
    if entry.get("user_id"):
        marker = r.get("user_invalidated:" + entry["user_id"])
        if marker and float(marker) > entry.get("cached_at", 0):
            r.delete(key(token))
            return None
    created = datetime.fromisoformat(entry["created_at"])
    updated = datetime.fromisoformat(entry["updated_at"])
    return {"id": entry["user_id"], "email": entry["email"], "name": entry["name"], "email_verified": entry["email_verified"],
            "tier": entry["tier"], "created_at": created.isoformat(), "updated_at": updated.isoformat()}


def set_(token, user, expire):
    left = TTL
    if expire:
        left = int((datetime.fromisoformat(expire) - datetime.now(timezone.utc)).total_seconds())
    entry = {"user_id": user["id"], "email": user["email"], "name": user["name"], "email_verified": user["email_verified"],
             "tier": user["tier"], "created_at": user["created_at"], "updated_at": user["updated_at"],
             "session_expire": expire, "cached_at": time.time()}
    r.set(key(token), json.dumps(entry), ex=min(TTL, max(1, left)))
    return True


def bench(token, n):
    """Seconds for n lookups as the service makes them, GET and GET."""
    begun = time.perf_counter()
    for _ in range(n):
        if get(token) is None:
            raise SystemExit("no entry")
    return time.perf_counter() - begun


for line in sys.stdin:
    q = json.loads(line)
    op = q["op"]
    if op == "get":
        out = get(q["token"])
    elif op == "set":
        out = set_(q["token"], q["user"], q["expire"])
    elif op == "invalidate_token":
        out = bool(r.delete(key(q["token"])))
    elif op == "invalidate_user":
        out = bool(r.set("user_invalidated:" + q["user"], str(time.time()), ex=REMEMBER))
    elif op == "bench":
        out = bench(q["token"], q["n"])
    print(json.dumps(out), flush=True)
