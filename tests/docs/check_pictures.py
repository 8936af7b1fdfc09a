#!/usr/bin/env python3
"""Checks the pictures of README and docs/: check_pictures.py <root of the repository>.

Each .svg has a title, a description, an own ground, dark colours, and no text below 12 px where it is shown 830 px wide,
as code hosts do. Each is shown by a page, and each page that shows it says what is seen.
"""
import pathlib
import re
import sys

root = pathlib.Path(sys.argv[1])
pages = [root / "README.md", *root.glob("docs/*.md")]
images = [(page.parent / target, alternative) for page in pages
          for alternative, target in re.findall(r"!\[([^\]]*)\]\(([^)]+)\)", page.read_text(encoding="utf-8"))]
failures = [f"{path}: the alternative text says too little: '{text}'" for path, text in images if len(text.split()) < 8]
for path in sorted(root.glob("docs/*/*.svg")):
    svg = path.read_text(encoding="utf-8")
    width, unit = re.search(r'<svg\s+width="([\d.]+)(pt)?"', svg).groups()
    shown = min(830, float(width) * (4 / 3 if unit else 1)) / float(re.search(r'viewBox="\S+ \S+ (\S+)', svg).group(1))
    smallest = shown * min(map(float, re.findall(r'font-size="([\d.]+)', svg)))
    for what, holds in [("a title", "<title>" in svg), ("a description", "<desc>" in svg), ("role=img", 'role="img"' in svg),
                        ("colours for dark mode", "prefers-color-scheme: dark" in svg),
                        ("an opaque ground", re.search(r'<(rect|polygon)[^>]*fill="#ffffff"', svg)),
                        (f"text of 12 px: {smallest:.1f}", smallest >= 12), ("a page", path in dict(images))]:
        if not holds:
            failures.append(f"{path}: lacks {what}")
sys.exit("\n".join(failures) or 0)
