"""The Python libraries that benchmarks compare with.

A line [function, [arguments]] in, a line with what it returns out. What is timed is
prepared by one call and done over and over by turn(name, seconds).
"""
import gc
import hashlib
import json
import sys
import time
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Optional

import itsdangerous
import redis

ready = {}  # name -> a function that does one operation for each of a list, and the list


def turn(name, seconds):
    """Works for about so long."""
    each, items = ready[name]
    gc.collect()
    n, begun, worked = 0, time.perf_counter(), time.thread_time()
    while True:
        each(items)
        n += len(items)
        took = time.perf_counter() - begun
        if took >= seconds:
            return {"n": n, "seconds": took, "worked": time.thread_time() - worked}


def versions():
    return {"python": sys.version.split()[0], "itsdangerous": itsdangerous.__version__, "redis": redis.__version__}


def tokens(name, secret, salt, payloads):
    """Signs payloads, and makes ready to read them."""
    s = itsdangerous.URLSafeTimedSerializer(secret, salt=salt)
    loads = s.loads

    def each(tokens):
        for token in tokens:
            loads(token, max_age=3600)

    made = [s.dumps(p) for p in payloads]
    ready[name] = each, made
    return made


@dataclass
class Identity:
    """The fields of reflow's model, without the cost of the library that checks them."""
    sub: str
    email: Optional[str]
    name: Optional[str]
    provider_id: str
    issued_at: datetime
    expires_at: datetime


def identities(name, secret, salt, made):
    """Makes ready to read tokens into identities."""
    loads = itsdangerous.URLSafeTimedSerializer(secret, salt=salt).loads

    def each(tokens):
        for token in tokens:
            i = Identity(**loads(token, max_age=3600))
            i.issued_at, i.expires_at = datetime.fromisoformat(i.issued_at), datetime.fromisoformat(i.expires_at)

    ready[name] = each, made


def session_cache(name, url, keys, user):
    """SessionCacheService: an entry and, since it names a user, the user's marker; GET and GET."""
    r = redis.Redis.from_url(url, decode_responses=True)
    entry = dict(user, session_expire=None, cached_at=time.time())
    for token in keys:
        r.set(cache_key(token), json.dumps(entry), ex=3600)

    def each(tokens):
        for token in tokens:
            if session_cache_get(r, token) is None:
                raise SystemExit("no entry")

    ready[name] = each, keys


def cache_key(token):
    return "session_cache:" + hashlib.sha256(token.encode()).hexdigest()[:32]


def session_cache_get(r, token):
    text = r.get(cache_key(token))
    if text is None:
        return None
    entry = json.loads(text)
    expire = entry.get("session_expire")
    if expire and datetime.fromisoformat(expire) < datetime.now(timezone.utc):
        return None
    if entry.get("user_id"):
        marker = r.get("user_invalidated:" + entry["user_id"])
        if marker and float(marker) > entry.get("cached_at", 0):
            return None
    created = datetime.fromisoformat(entry["created_at"])
    updated = datetime.fromisoformat(entry["updated_at"])
    return {"id": entry["user_id"], "email": entry["email"], "name": entry["name"], "email_verified": entry["email_verified"],
            "tier": entry["tier"], "created_at": created, "updated_at": updated}


def once(name):
    """One operation, for those who count commands."""
    each, items = ready[name]
    each(items[:1])


for line in sys.stdin:
    function, args = json.loads(line)
    print(json.dumps(globals()[function](*args)), flush=True)
