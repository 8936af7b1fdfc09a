#!/usr/bin/env python3
"""Fails if a Lua script in a page is not one that the library sends: check_scripts.py <page> <header with scripts>.

What a page leaves out of a script, it marks by an ellipsis: such a one is not compared.
"""
import pathlib
import re
import sys

page, header = (pathlib.Path(name).read_text(encoding="utf-8") for name in sys.argv[1:])
sent = re.findall(r'R"\((.*?)\)"', header, flags=re.DOTALL)
shown = re.findall(r"^```lua\n(.*?)\n```$", page, flags=re.MULTILINE | re.DOTALL)
stale = [script for script in shown if script not in sent and "…" not in script]
print(f"{len(shown)} scripts, {len(stale)} of them not sent", *stale, sep="\n\n")
sys.exit(bool(stale) or not shown)
