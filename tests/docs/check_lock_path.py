#!/usr/bin/env python3
"""check_lock_path.py <program> <architecture.md>: compares the way of a lock() in the page with a backtrace.

The frames from BasicLock::lock to send() must be those of the page's table, at most nine, and none in a higher storey
than the one before it.
"""
import pathlib
import re
import subprocess
import sys
import tempfile
import time

most = 9
storeys = ["base", "protocol", "net", "lock", "impl"]  # from the lowest

program, page = sys.argv[1:]
with tempfile.TemporaryDirectory() as folder:
    socket = folder + "/redis.sock"
    server = subprocess.Popen(["redis-server", "--port", "0", "--unixsocket", socket, "--save", "", "--appendonly", "no",
                               "--dir", folder], stdout=subprocess.DEVNULL)
    try:
        for _ in range(500):
            if pathlib.Path(socket).is_socket():
                break
            time.sleep(0.01)
        commands = ["set breakpoint pending on", "set debuginfod enabled off", "set width 0", "tbreak main", "run",
                    "tbreak lock_path.cpp:9", "continue", "tbreak -qualified send", "continue", "backtrace"]
        commands = [word for command in commands for word in ("-ex", command)]
        trace = subprocess.run(["gdb", "-nx", "-batch", *commands, "--args", program, "unix://" + socket],
                               capture_output=True, text=True, timeout=100, check=False)
    finally:
        server.terminate()
        server.wait()

frames = []
for line in trace.stdout.splitlines():
    frame = re.match(r"#\d+ +(?:0x[0-9a-f]+ in )?(.+) at (\S+?):\d+$", line)
    if not frame or "/redis_lock/" not in frame[2]:
        continue
    name = re.sub(r"redis_lock::|detail::", "", frame[1])
    while "<" in name:
        name = re.sub(r"<[^<>]*>", "", name)
    name = re.match(r"[\w:]+operator\(\)|[\w:]+", name)[0]
    storey = re.search(r"/detail/(\w+)/", frame[2])
    frames.append((name, storeys.index(storey[1]) if storey else len(storeys)))
    if name == "BasicLock::lock":
        break
names = [name for name, _ in reversed(frames)] + ["send"]
table = re.findall(r"^\| \d+ \| `([^`]+)`", pathlib.Path(page).read_text(encoding="utf-8"), re.MULTILINE)
print(*names, sep="\n")
if names[0] != "BasicLock::lock":
    sys.exit("no backtrace:\n" + trace.stdout + trace.stderr)
if len(names) > most:
    sys.exit(f"{len(names)} frames, at most {most} are allowed")
if any(below > above for (_, below), (_, above) in zip(frames, frames[1:])):
    sys.exit("a frame is in a higher storey than its caller")
if names != table:
    sys.exit(f"{page} has\n" + "\n".join(table))
