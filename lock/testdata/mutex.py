"""apicrud's Mutex, re-made from its formulas with redis-py, driven line by line.

usage: mutex.py HOST PORT NAME MAXWAIT TTL

Reads commands from standard input and answers each with one line:
  acquire -> "acquired <value>" or "TimeoutError <text>"
  release -> "released", "TimeoutError <text>" or "AttributeError"
"""
import datetime
import random
import sys
import time

import redis

DIGITS = "-0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz"


def gen_id(length=8, prefix="x-"):
    days = (datetime.datetime.utcnow() - datetime.datetime(2018, 1, 1)).days
    number, text = days * 8 + random.randint(0, 8), ""
    while number:
        text, number = DIGITS[number % 64] + text, number // 64
    return prefix + text + "".join(random.choice(DIGITS) for _ in range(length - len(text)))


class Mutex:
    def __init__(self, conn, name, maxwait, ttl):
        self.conn, self.name, self.maxwait, self.ttl = conn, name, maxwait, ttl
        self.signature = gen_id()

    def acquire(self):
        for _ in range(self.maxwait):
            try:
                if self.conn.set("mutex:%s" % self.name, self.signature, ex=self.ttl, nx=True):
                    return True
            except redis.exceptions.ConnectionError:
                pass
            time.sleep(1)
        raise TimeoutError("Unable to acquire mutex=%s" % self.name)

    def release(self):
        if self.conn.get("mutex:%s" % self.name).decode() == self.signature:
            if self.conn.delete("mutex:%s" % self.name) == 1:
                return
        raise TimeoutError("Mutex held too long, may need a longer ttl")


def main():
    host, port, name, maxwait, ttl = sys.argv[1:]
    mutex = Mutex(redis.Redis(host=host, port=int(port)), name, int(maxwait), int(ttl))
    for line in sys.stdin:
        try:
            if line.strip() == "acquire":
                mutex.acquire()
                answer = "acquired " + mutex.signature
            else:
                mutex.release()
                answer = "released"
        except TimeoutError as ex:
            answer = "TimeoutError " + str(ex)
        except AttributeError:
            answer = "AttributeError"
        print(answer, flush=True)


main()
