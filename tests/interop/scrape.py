#!/usr/bin/python3
"""Scrapes the example that its argument or $EXAMPLE names as Prometheus would, reads the answer with Prometheus's
own parser, and compares it with what the example was told to do. Redis is at $REDIS_URL: run_with_redis.sh.
Debian: python3-redis python3-prometheus-client."""

import os
import subprocess
import sys
import time
import urllib.error
import urllib.request

import redis
from prometheus_client.parser import text_string_to_metric_families

COUNTERS = ["acquired", "contended", "timed_out", "released", "renewed", "renewals_failed", "lost", "abandoned", "reconnects"]
TIMES = ["wait_seconds", "hold_seconds"]
GAUGES = ["longest_wait_seconds", "longest_hold_seconds"]


def scrape(url):
    """The values by name; all that the format asks for must be there."""
    with urllib.request.urlopen(url, timeout=20) as answer:
        assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4"), answer.headers
        text = answer.read().decode()
    assert text.endswith("\n")
    values = {}
    for family in text_string_to_metric_families(text):
        short = family.name.removeprefix("redis_lock_")
        expected = "gauge" if short in GAUGES else "counter"
        assert family.name.startswith("redis_lock_") and family.type == expected, family
        assert family.documentation, family
        (sample,) = family.samples
        assert sample.name.endswith("_total") == (expected == "counter"), sample
        assert short not in values, family
        values[short] = sample.value
    assert sorted(values) == sorted(COUNTERS + TIMES + GAUGES), values
    return values


def expect(values, **numbers):
    found = {name: values[name] for name in COUNTERS}
    assert found == {**dict.fromkeys(COUNTERS, 0), **numbers}, found
    assert values["longest_wait_seconds"] <= values["wait_seconds"], values
    assert values["longest_hold_seconds"] <= values["hold_seconds"], values


def main():
    server = redis.Redis.from_url(os.environ["REDIS_URL"])
    example = subprocess.Popen([os.environ["EXAMPLE"]], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def told(job):
        print(job, file=example.stdin, flush=True)
        return example.stdout.readline().rstrip("\n")

    began = time.monotonic()
    url = example.stdout.readline().strip()
    expect(scrape(url))

    for _ in range(3):
        assert told("report") == "report: done"
    values = scrape(url)
    expect(values, acquired=3, released=3)
    assert 0 < values["longest_wait_seconds"] < values["wait_seconds"], values
    assert 0.005 <= values["longest_hold_seconds"] < values["hold_seconds"] <= time.monotonic() - began, values

    server.set("lock:import", "somebody")
    assert told("import") == "import: held by somebody, not done"
    expect(scrape(url), acquired=3, released=3, contended=1, timed_out=1)

    began = time.monotonic()
    example.stdin.write("import\n")
    example.stdin.flush()
    while server.info("clients")["blocked_clients"] == 0:
        time.sleep(0.002)
    time.sleep(0.05)  # this long it waits, at the least
    with server.pipeline() as freed:
        freed.delete("lock:import").lpush("lock-signal:import", 1).execute()
    assert example.stdout.readline() == "import: done\n"
    values = scrape(url)
    expect(values, acquired=4, released=4, contended=2, timed_out=1)
    assert 0.05 <= values["longest_wait_seconds"] <= time.monotonic() - began, values

    try:
        urllib.request.urlopen(url + "/nothing")
        raise AssertionError("there is more than /metrics")
    except urllib.error.HTTPError as error:
        assert error.code == 404, error

    example.stdin.close()
    assert example.wait(timeout=20) == 0
    print("scraped, parsed and compared")


if __name__ == "__main__":
    sys.exit(main())
