"""Crossauth's key storage and session cookie, made again from its SQL and formulas over sqlite3 or psycopg2.

crossauth.py DATABASE SECRET: a request a line, {"op", ...}; an answer a line. DATABASE is a path, or a
postgres:// URL. Times are naive and local, as there; set TZ.
"""

import base64
import hashlib
import hmac
import json
import os
import sqlite3
import sys
import warnings
from datetime import datetime, timedelta

warnings.simplefilter("ignore", DeprecationWarning)  # sqlite3's own adapter of datetime, which writes the table

database, secret = sys.argv[1], sys.argv[2]
if database.startswith("postgres"):
    import psycopg2

    connection, mark = psycopg2.connect(database), "%s"
    connection.autocommit = True
else:
    connection, mark = sqlite3.connect(database, timeout=30, isolation_level=None), "?"


def run(sql, *args):
    cursor = connection.cursor()
    cursor.execute(sql.replace("?", mark), args)
    return cursor


def b64(data):
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def stored(id):
    return "s:" + b64(hashlib.sha256(id.encode()).digest())


def sign(token):
    return token + "." + hmac.new(secret.encode(), token.encode(), hashlib.sha256).hexdigest()


def unsign(cookie):
    parts = cookie.split(".")
    assert len(parts) == 2 and sign(parts[0]) == cookie
    return parts[0]


def moment(value):
    if isinstance(value, str):
        return datetime.strptime(value, "%Y-%m-%d %H:%M:%S.%f")
    return value


def get_row(value):
    cursor = run("select * from Key where value = ?", value)
    row = cursor.fetchone()
    return None if row is None else dict(zip([c[0] for c in cursor.description], row))


def create(userid, max_age, data):
    id = b64(os.urandom(16))
    created = datetime.now()
    run(
        "insert into Key (userid, value, created, expires, data) values (?, ?, ?, ?, ?)",
        userid, stored(id), created, created + timedelta(0, max_age) if max_age > 0 else None, data if data is not None else "",
    )
    return sign(id)


def get(cookie):
    row = get_row(stored(unsign(cookie)))
    if row is None:
        return {"error": "InvalidKey"}
    now, expires = datetime.now(), moment(row["expires"])
    if expires is not None and now > expires:
        return {"error": "Expired"}
    active = moment(row["lastactive"])
    return {
        "userid": row["userid"],
        "age": (now - moment(row["created"])).total_seconds(),
        "left": None if expires is None else (expires - now).total_seconds(),
        "idle": None if active is None else (now - active).total_seconds(),
        "data": json.loads(row["data"] or "{}"),
    }


def update_data(cookie, name, value):
    key = stored(unsign(cookie))
    data = json.loads(get_row(key)["data"] or "{}")
    data[name] = value
    run("update Key set data = ? where value = ?", json.dumps(data), key)


def delete_all_for_user(userid, except_cookie):
    run(
        "delete from Key where userid = ? and value like ? and value != ?",
        userid, "s:%", stored(unsign(except_cookie)),
    )


operations = {"create": create, "get": get, "update_data": update_data, "delete_all_for_user": delete_all_for_user}
for line in sys.stdin:
    request = json.loads(line)
    print(json.dumps(operations[request.pop("op")](**request)), flush=True)
