#!/usr/bin/env python3
"""Fails if a header includes one of a higher storey, or if the longest chain of includes is longer than `longest`."""
import functools
import pathlib
import re
import sys

storeys = ["base", "protocol", "net", "lock", "quorum", "impl"]  # impl: what the public headers define
values = ["endpoint", "error", "event", "node_status", "options", "reply", "stats"]  # public, and without I/O
longest = 12
root = pathlib.Path(sys.argv[1])


def storey(header):
    part = header.split("/")
    if part[1] == "detail":
        return storeys.index(part[2])
    return -1 if pathlib.Path(header).stem in values else len(storeys)


def includes(header):
    return re.findall(r"#include <(redis_lock/.+)>", (root / header).read_text())


@functools.cache
def chain(header):
    below = [] if storey(header) == -1 else includes(header)
    if "/impl/" in header:  # comes after its public header
        below = [one for one in below if storey(one) < len(storeys)]
    return [header] + max(map(chain, below), key=len, default=[])


headers = [str(path.relative_to(root)) for path in root.rglob("*.hpp")]
wrong = [f"{each} includes {other}" for each in headers for other in includes(each)
         if storey(each) != -1 and "/impl/" not in each and storey(other) > storey(each)]
if wrong:
    sys.exit("\n".join(wrong))
deepest = max(map(chain, headers), key=len)
print(f"{len(deepest)} links: " + " > ".join(deepest))
sys.exit(len(deepest) > longest)
