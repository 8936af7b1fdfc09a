#!/usr/bin/env python3
"""finish.py <svg> <title> <description>: makes a drawing of dot or gnuplot fit for a page.

Replaces the program's own titles, which a browser shows as tooltips, and adds the colours of dark mode (dark.css).
"""
import html
import pathlib
import re
import sys

INK = "#24292f"

path, title, description = pathlib.Path(sys.argv[1]), *map(html.escape, sys.argv[2:])
style = pathlib.Path(__file__).with_name("dark.css").read_text(encoding="utf-8")
text = path.read_text(encoding="utf-8")
text = re.sub(r"\s*<(title|desc)>.*?</\1>", "", text, flags=re.DOTALL)
text = re.sub(r"rgb\( *(\d+), *(\d+), *(\d+)\)", lambda rgb: "#%02x%02x%02x" % tuple(map(int, rgb.groups())), text)
text = re.sub(r"""(["'])(black|#000000)\1""", rf'"{INK}"', text)
text = re.sub(r"""(["'])(white|#FFFFFF)\1""", '"#ffffff"', text)
head = f'role="img">\n<title>{title}</title>\n<desc>{description}</desc>\n<style>\n{style}</style>'
text = re.sub(r"(<svg\b[^>]*?)\s*>", lambda tag: f"{tag.group(1)} {head}", text, count=1)
path.write_text("\n".join(line.rstrip() for line in text.splitlines()) + "\n", encoding="utf-8")
