"""apicrud's AESEncrypt and SessionManager, and the routes of its flow, re-made from
their formulas with the libraries that they use: redis-py, cryptography, PyJWT, Flask,
itsdangerous.

usage: session_manager.py HOST PORT AES_SECRET JWT_SECRET ISSUER TTL

Reads one JSON list a line from standard input, [operation, argument...], and writes
one JSON value: the operation's result, or {"error": "the exception's class"}. A Flask
application with the routes is served on a free port; ["url"] tells where.
"""
import base64
import datetime
import hashlib
import json
import logging
import os
import random
import sys
import threading

import flask
import itsdangerous
import jwt
import redis
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from werkzeug.serving import make_server

HOST, PORT, AES_SECRET, JWT_SECRET, ISSUER, TTL = sys.argv[1:]
DIGITS = "-0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz"


def gen_id(length=8, prefix="x-"):
    days = (datetime.datetime.utcnow() - datetime.datetime(2018, 1, 1)).days
    number, text = days * 8 + random.randint(0, 8), ""
    while number:
        text, number = DIGITS[number % 64] + text, number // 64
    return prefix + text + "".join(random.choice(DIGITS) for _ in range(length - len(text)))


class AESEncrypt:
    def __init__(self, secret):
        self.key = hashlib.sha256(secret.encode()).digest()

    def cipher(self, iv):
        return Cipher(algorithms.AES(self.key), modes.CBC(iv))

    def encrypt(self, text):
        pad = 16 - len(text) % 16
        iv = os.urandom(16)
        enc = self.cipher(iv).encryptor()
        body = enc.update((text + pad * chr(pad)).encode()) + enc.finalize()
        return base64.b64encode(iv + body)

    def decrypt(self, value):
        raw = base64.b64decode(value)
        dec = self.cipher(raw[:16]).decryptor()
        text = dec.update(raw[16:]) + dec.finalize()
        return text[:-ord(text[len(text) - 1:])].decode()


class SessionManager:
    def __init__(self, ttl=None):
        self.ttl = ttl or int(TTL)
        self.conn = redis.Redis(host=HOST, port=int(PORT))
        self.aes = AESEncrypt(AES_SECRET)

    @staticmethod
    def key(uid, token, key_id=None):
        return "ses:%s:%s" % (key_id or uid, token[-3:])

    def create(self, uid, roles, key_id=None, nonce=None, ttl=None, **kwargs):
        token = nonce or gen_id(prefix="")
        ttl = ttl or self.ttl
        expires = datetime.datetime.utcnow() + datetime.timedelta(seconds=ttl)
        content = dict(auth=":".join(roles), exp=expires.strftime("%s"), iss=ISSUER, jti=token, sub=uid)
        content.update(kwargs)
        if self.conn.set(self.key(uid, token, key_id), self.aes.encrypt(json.dumps(content)), ex=ttl, nx=True):
            return content
        return None

    def get(self, uid, token, arg=None, key_id=None):
        value = self.conn.get(self.key(uid, token, key_id))
        if not value:
            return None
        try:
            content = json.loads(self.aes.decrypt(value))
            if content["jti"] != token:
                return None
        except Exception:
            return None
        return content.get(arg) if arg else content

    def update(self, uid, token, arg, value, key_id=None):
        content = self.get(uid, token)
        content[arg] = value
        self.conn.set(self.key(uid, token, key_id), self.aes.encrypt(json.dumps(content)), ex=self.ttl)

    def delete(self, uid, token, key_id=None):
        return self.conn.delete(self.key(uid, token, key_id))


manager = SessionManager()
app = flask.Flask(__name__)
app.secret_key = JWT_SECRET  # flask_secret_key; it signs the cookie that OAuth keeps its state in
BASE = "/api/v1"


@app.post(BASE + "/auth")
def sign_in():
    body = flask.request.get_json()
    roles = body.get("roles", ["user"])
    ses = manager.create(body["username"], roles, nonce=body.get("nonce"), ttl=900 if "admin" in roles else 7200, method="local")
    if ses is None:
        return flask.jsonify(message="not created"), 409
    bypass = manager.create(body["username"], ["mfabypass"], ttl=43200)
    flask.session["state"] = body["username"]
    response = flask.jsonify(jwt_token=jwt.encode(ses, JWT_SECRET, algorithm="HS256"), resources={}, username=body["username"])
    response.set_cookie("__Secure-totp", bypass["jti"], path=BASE + "/auth", max_age=43200, httponly=True, samesite="Strict", secure=True)
    return response, 201


@app.get(BASE + "/session")
def show():
    auth = flask.request.authorization
    ses = auth and manager.get(auth.username, auth.password)
    return (flask.jsonify(ses), 200) if ses else (flask.jsonify(message="access denied"), 401)


@app.get(BASE + "/state")
def state():
    return flask.jsonify(flask.session.get("state"))


@app.get(BASE + "/logout")
def logout():
    auth = flask.request.authorization
    manager.delete(auth.username, auth.password)
    return flask.jsonify(message="logged out")


OPERATIONS = {
    "create": lambda uid, roles, options: manager.create(uid, roles, **options),
    "get": manager.get,
    "update": manager.update,
    "delete": manager.delete,
    "key": manager.key,
    "decrypt": lambda value: manager.aes.decrypt(value),
    "jwt": lambda token: jwt.decode(token, JWT_SECRET, algorithms=["HS256"]),
    "gen_id": gen_id,
    "confirm": lambda text, salt: itsdangerous.URLSafeTimedSerializer(JWT_SECRET).dumps(text, salt=salt),
    "confirmed": lambda token, salt: itsdangerous.URLSafeTimedSerializer(JWT_SECRET).loads(token, salt=salt, max_age=43200),
}


def main():
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = make_server("127.0.0.1", 0, app, threaded=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    for line in sys.stdin:
        name, *args = json.loads(line)
        try:
            answer = "http://127.0.0.1:%d%s" % (server.server_port, BASE) if name == "url" else OPERATIONS[name](*args)
        except Exception as ex:
            answer = {"error": type(ex).__name__}
        print(json.dumps(answer), flush=True)


main()
