#!/usr/bin/env python3
"""Fails if a relative link in a Markdown file leads to no file, or to no heading in it: check_links.py <file>..."""
import pathlib
import re
import sys


def prose(page):
    return re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


def anchors(page):
    for words in re.findall(r"^#+ (.*)$", prose(page), flags=re.MULTILINE):
        yield re.sub(r"[^\w\- ]", "", words.lower()).strip().replace(" ", "-")


dead = 0
for page in map(pathlib.Path, sys.argv[1:]):
    for target in re.findall(r"\]\((?![a-z]+:)([^)\s]+)\)", re.sub(r"`[^`]*`", "", prose(page))):
        file, _, anchor = target.partition("#")
        other = page.parent / file if file else page
        if not other.exists() or anchor and anchor not in anchors(other):
            print(f"{page}: {target} leads nowhere")
            dead += 1
sys.exit(dead > 0)
