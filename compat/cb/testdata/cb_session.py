"""cb_session's SessionService, made again from its SQL and formulas over sqlite3, psycopg2 or pymysql.

cb_session.py DATABASE SECRET DAYS: a request a line, {"op", ...}; an answer a line.
DATABASE is a path, or a postgres:// or mysql:// URL.
"""

import hashlib
import json
import secrets
import sqlite3
import sys
from datetime import datetime, timedelta, timezone

from itsdangerous import BadSignature, SignatureExpired, URLSafeTimedSerializer

database, secret, days = sys.argv[1], sys.argv[2], int(sys.argv[3])
signer = URLSafeTimedSerializer(secret, salt="session")
if database.startswith("postgres"):
    import psycopg2

    connection, mark = psycopg2.connect(database), "%s"
    connection.autocommit = True
elif database.startswith("mysql"):
    from urllib.parse import unquote, urlsplit

    import pymysql

    u = urlsplit(database)
    connection, mark = pymysql.connect(
        host=u.hostname, port=u.port, user=u.username, password=unquote(u.password), database=u.path[1:], charset="utf8mb4", autocommit=True
    ), "%s"
else:
    connection, mark = sqlite3.connect(database, timeout=30, isolation_level=None), "?"


def run(sql, *args):
    cursor = connection.cursor()
    cursor.execute(sql.replace("?", mark), args)
    return cursor


def token_hash(raw):
    return hashlib.sha256(raw.encode()).hexdigest()


def create(user_id, ip, user_agent):
    raw = secrets.token_urlsafe(32)
    now = datetime.now(timezone.utc)
    run(
        "INSERT INTO sessions (user_id, token_hash, created_at, expires_at, ip, user_agent) VALUES (?, ?, ?, ?, ?, ?)",
        user_id, token_hash(raw), now.isoformat(), (now + timedelta(days=days)).isoformat(), ip or "", user_agent or "",
    )
    return signer.dumps(raw)


def lookup(cookie):
    try:
        raw = signer.loads(cookie, max_age=days * 86400)
    except SignatureExpired:
        return None
    except BadSignature:
        return None
    row = run(
        "SELECT id, user_id, created_at, expires_at, ip, user_agent FROM sessions"
        " WHERE token_hash = ? AND revoked_at IS NULL AND expires_at > ? LIMIT 1",
        token_hash(raw), datetime.now(timezone.utc).isoformat(),
    ).fetchone()
    if row is None:
        return None
    created, expires = datetime.fromisoformat(row[2]), datetime.fromisoformat(row[3])
    return {"id": row[0], "user_id": row[1], "created": row[2], "days": (expires - created).days, "ip": row[4], "user_agent": row[5]}


def revoke(id):
    run("UPDATE sessions SET revoked_at = ? WHERE id = ? AND revoked_at IS NULL", datetime.now(timezone.utc).isoformat(), id)


operations = {"create": create, "lookup": lookup, "revoke": revoke}
for line in sys.stdin:
    request = json.loads(line)
    print(json.dumps(operations[request.pop("op")](**request)), flush=True)
