"""A Python process that shares locks with redis_lock, over the wire protocol of docs/protocol.md and by
nothing but redis-py. interop_test.cpp starts it:

    peer.py <URI> <name> <style> <journal> <action> [options]

The styles are what such processes look like:
    classic      as python-redis-lock 4.0: leases of whole seconds, SET only after the BLPOP has ended,
                 scripts by redis-py's register_script (EVALSHA, on NOSCRIPT SCRIPT LOAD and EVALSHA)
    pipelined    as docs/protocol.md advises: milliseconds, SET in the same write as the BLPOP, no wait
                 longer than the holder's lease, scripts by EVALSHA, on NOSCRIPT by EVAL
    polling      redis-py's own Lock: no other protocol, but the same key where Options::key_prefix is empty

What it does it writes to the list <journal>: acquired, busy, signal or timeout (how a BLPOP ended), renewed,
released, lost, and "owner <id>".
"""

import argparse
import base64
import hashlib
import math
import os
import secrets
import sys
import threading
import time

import redis

RELEASE = """
if redis.call('get', KEYS[1]) ~= ARGV[1] then return 1 end
redis.call('del', KEYS[2])
redis.call('lpush', KEYS[2], 1)
redis.call('pexpire', KEYS[2], ARGV[2])
redis.call('del', KEYS[1])
return 0
"""

# ARGV[2] is the command that sets the expiry: EXPIRE counts seconds, PEXPIRE milliseconds.
EXTEND = """
if redis.call('get', KEYS[1]) ~= ARGV[1] then return 1 end
if redis.call('pttl', KEYS[1]) < 0 then return 2 end
redis.call(ARGV[2], KEYS[1], ARGV[3])
return 0
"""

RESET = """
redis.call('del', KEYS[2])
redis.call('lpush', KEYS[2], 1)
redis.call('pexpire', KEYS[2], ARGV[1])
return redis.call('del', KEYS[1])
"""

RESET_ALL = """
local locks = redis.call('keys', 'lock:*')
for _, lock in ipairs(locks) do
  local signal = 'lock-signal:' .. string.sub(lock, 6)
  redis.call('del', signal)
  redis.call('lpush', signal, 1)
  redis.call('pexpire', signal, ARGV[1])
  redis.call('del', lock)
end
return #locks
"""


class Lost(Exception):
    """The lock is not held under this id (any more)."""


class Lock:
    """What both styles have in common; `expire` in seconds, None for a lock without expiry."""

    signal_expire = 60_000  # long: a test sees whether a waiter has taken the signal

    def __init__(self, client, name, expire, id, note):
        self.client, self.expire, self.note = client, expire, note
        self.key, self.signal = b"lock:" + name, b"lock-signal:" + name
        self.id = id or base64.b64encode(secrets.token_bytes(18))

    def release(self):
        if self.run(RELEASE, [self.key, self.signal], [self.id, self.signal_expire]) != 0:
            raise Lost
        self.note("released")

    def extend(self):
        if self.run(EXTEND, [self.key], [self.id, *self.new_lease()]) != 0:
            raise Lost
        self.note("renewed")

    def reset(self):
        return self.run(RESET, [self.key, self.signal], [self.signal_expire])

    def reset_all(self):
        return self.run(RESET_ALL, [], [self.signal_expire])


class Classic(Lock):
    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.scripts = {text: self.client.register_script(text) for text in (RELEASE, EXTEND, RESET, RESET_ALL)}

    def run(self, text, keys, arguments):
        return self.scripts[text](keys=keys, args=arguments)

    def new_lease(self):
        return "expire", self.expire

    def try_acquire(self):
        assert self.client.get(self.key) != self.id, "held by this very object"
        return self.client.set(self.key, self.id, nx=True, ex=self.expire)

    def acquire(self):
        while not self.try_acquire():
            woken = self.client.blpop(self.signal, self.expire or 0)
            self.note("signal" if woken else "timeout")
        self.note("acquired")


class Pipelined(Lock):
    longest_wait = 3.0

    def run(self, text, keys, arguments):
        try:
            digest = hashlib.sha1(text.encode()).hexdigest()
            return self.client.evalsha(digest, len(keys), *keys, *arguments)
        except redis.exceptions.NoScriptError:
            return self.client.eval(text, len(keys), *keys, *arguments)

    def new_lease(self):
        return "pexpire", self.expire * 1000

    def attempt(self, wait):
        with self.client.pipeline(transaction=False) as pipeline:
            if wait:
                pipeline.blpop(self.signal, wait)
            pipeline.set(self.key, self.id, nx=True, px=self.expire and self.expire * 1000)
            pipeline.pttl(self.key)
            *woken, granted, left = pipeline.execute()
        if wait:
            self.note("signal" if woken[0] else "timeout")
        return granted, left

    def try_acquire(self):
        return self.attempt(None)[0]

    def acquire(self):
        granted, left = self.attempt(None)
        while not granted:
            # No PTTL: no expiry. In milliseconds, rounded up.
            wait = min(self.longest_wait, left / 1000 + 0.01) if left >= 0 else self.longest_wait
            granted, left = self.attempt(math.ceil(wait * 1000) / 1000)
        self.note("acquired")


class Polling:
    def __init__(self, client, name, expire, id, note):
        self.lock, self.note = redis.lock.Lock(client, name, timeout=expire, sleep=0.002), note

    def acquire(self):
        self.lock.acquire()
        self.note("acquired")

    def release(self):
        self.lock.release()
        self.note("released")


class Renewal:
    """Extends the lock every `interval` seconds while the block runs, on a thread as python-redis-lock does."""

    def __init__(self, lock, interval):
        self.lock, self.interval, self.stop = lock, interval, threading.Event()
        self.thread = threading.Thread(target=self.work, daemon=True)

    def work(self):
        while not self.stop.wait(self.interval):
            self.lock.extend()

    def __enter__(self):
        if self.interval:
            self.thread.start()

    def __exit__(self, *_):
        self.stop.set()
        if self.interval:
            self.thread.join()


def wait_until(condition):
    while not condition():
        time.sleep(0.002)


def hold(client, lock, options):
    """Acquires, and releases when the journal's gate opens."""
    lock.acquire()
    with Renewal(lock, options.renew_every):
        wait_until(lambda: client.exists(options.journal + ":gate"))
    lock.release()


def attempt(client, lock, options):
    """One attempt that does not wait; who holds the lock, as python-redis-lock shows it."""
    lock.note("acquired" if lock.try_acquire() else "busy")
    owner = client.get(lock.key)
    lock.note("owner " + owner.decode("ascii", "replace"))


def contend(client, lock, options):
    """Rounds in which nothing but the lock keeps this process from losing an update, until all have run."""
    shared = options.journal
    client.incr(shared + ":ready")
    wait_until(lambda: client.exists(shared + ":gate"))
    going_on = True
    while going_on:
        lock.acquire()
        if client.incr(shared + ":inside") != 1:
            client.incr(shared + ":overlaps")
        count = int(client.get(shared + ":count") or 0)
        going_on = count < options.rounds
        if going_on:
            client.rpush(shared + ":order", options.who)
            client.set(shared + ":count", count + 1)
        client.decr(shared + ":inside")
        lock.release()
        time.sleep(options.pause)


STYLES = {"classic": Classic, "pipelined": Pipelined, "polling": Polling}
ACTIONS = {
    "hold": hold,
    "try": attempt,
    "contend": contend,
    "reset": lambda client, lock, options: lock.reset(),
    "reset-all": lambda client, lock, options: lock.reset_all(),
}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("uri")
    parser.add_argument("name", type=os.fsencode)
    parser.add_argument("style", choices=STYLES)
    parser.add_argument("journal")
    parser.add_argument("action", choices=ACTIONS)
    parser.add_argument("--expire", type=int, help="seconds; without it the lock does not expire")
    parser.add_argument("--id", type=bytes.fromhex, help="in hexadecimal; random if not told")
    parser.add_argument("--renew-every", type=float, metavar="SECONDS")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--pause", type=float, metavar="SECONDS", help="between two rounds")
    parser.add_argument("--who", help="what it calls itself in the order of rounds")
    options = parser.parse_args()

    client = redis.Redis.from_url(options.uri)
    note = (lambda text: None) if options.rounds else (lambda text: client.rpush(options.journal, text))
    lock = STYLES[options.style](client, options.name, options.expire, options.id, note)
    try:
        ACTIONS[options.action](client, lock, options)
    except Lost:
        note("lost")
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main())
