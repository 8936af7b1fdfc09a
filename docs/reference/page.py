#!/usr/bin/env python3
"""Prints a Markdown page of the project in the form that Doxygen understands: page.py <file>.

On code hosts a heading has an anchor made from its words, which may be the same on two pages, and a link leads to a
file of the repository. Doxygen wants a label at each heading, one of its kind, and links to labels. A link to a file
that is not among the pages becomes its path. A link that leads nowhere stays one, which Doxygen reports.
"""
import os
import re
import sys

path = os.path.realpath(sys.argv[1])
folder = os.path.dirname(path)
root = folder if os.path.exists(os.path.join(folder, "LICENSE")) else os.path.dirname(folder)


def label_of_page(page):
    return os.path.splitext(os.path.basename(page))[0].lower()


def anchor(heading):
    """As code hosts make it: the words in small letters, without punctuation, joined by hyphens."""
    words = re.sub(r"[^\w\- ]", "", heading.replace("`", "").lower())
    return words.strip().replace(" ", "-")


def is_page(file):
    return file.endswith(".md") and (
        file == os.path.join(root, "README.md") or os.path.dirname(file) == os.path.join(root, "docs"))


def link(match):
    text, target = match.group(1).strip("`"), match.group(2)
    if re.match(r"[a-z]+:", target):
        return match.group(0)
    file, _, heading = target.partition("#")
    file = os.path.normpath(os.path.join(folder, file)) if file else path
    if not os.path.exists(file):
        return f"[{text}](@ref missing-{target})"
    if is_page(file):
        label = label_of_page(file)
        if heading:
            return f"[{text}](@ref {label}-{heading})"
        return f"[{text}](@ref {'index' if label == 'readme' else label})"
    name = os.path.relpath(file, root)
    return f"`{name}`" if text == name else f"{text} (`{name}`)"


def prose(line):
    """Links and images, but nothing inside of code."""
    line = re.sub(r"\*\*`([^`]*)`\*\*", r"**\1**", line)  # Doxygen takes one of the two only
    parts = re.split(r"(`[^`]*`(?!\]\())", line)
    for i in range(0, len(parts), 2):
        parts[i] = re.sub(r"!\[([^\]]*)\]\((?:[^)/]*/)*([^)/]*)\)", r"![\1](\2)", parts[i])
        parts[i] = re.sub(r"(?<!!)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^)\s]+)\)", link, parts[i])
        parts[i] = re.sub(r"(?<!\S)#(?=\w)", r"\#", parts[i])  # #include is no link to a name
    return "".join(parts)


in_code = False
page = label_of_page(path)
with open(path, encoding="utf-8") as lines:
    for line in lines:
        line = line.rstrip("\n")
        if line.startswith("```"):
            in_code = not in_code
        elif not in_code and (heading := re.match(r"(#+) (.*)", line)):
            level, words = heading.groups()
            if level == "#":
                line = line if page == "readme" else f"{line} {{#{page}}}"
            else:
                line = f"{line} {{#{page}-{anchor(words)}}}"
        elif not in_code:
            line = prose(line)
        print(line)
