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
    text, target = match.group(1).replace("`", ""), match.group(2)
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


def image(match):
    """On one line, by its file's name alone. The lines stay as many, for Doxygen's messages."""
    alternative = match.group(1)
    return f"![{' '.join(alternative.split())}]({os.path.basename(match.group(2))})" + "\n" * alternative.count("\n")


def prose(text):
    """Links and images, but nothing inside of code."""
    text = re.sub(r"\*\*`([^`]*)`\*\*", r"**\1**", text)  # Doxygen takes one of the two only
    text = re.sub(r"\*\*(`[^`]*`(?:[^*`]|`[^`]*`)*)\*\*", r"<b>\1</b>", text)  # nor bold that begins with code
    words = r"((?:[^\[\]`]|`[^`]*`|\[[^\]]*\])*)"
    target = r"\(([^)\s]+)\)"

    def change(match):
        found = match.group(0)
        if found.startswith("!"):
            return image(re.fullmatch(rf"!\[{words}\]{target}", found))
        if found.startswith("["):
            return link(re.fullmatch(rf"\[{words}\]{target}", found))
        if "'" in found:
            return f"`{found}`"  # a quote in single backticks ends the code
        return "\\#" if found == "#" else found

    # #include is no link to a name.
    return re.sub(rf"!?\[{words}\]{target}|`[^`]*`|(?<!\S)#(?=\w)", change, text)


def heading(match):
    level, words = match.groups()
    page = label_of_page(path)
    if level != "#":
        return f"{level} {words} {{#{page}-{anchor(words)}}}"
    return match.group(0) if page == "readme" else f"{level} {words} {{#{page}}}"


with open(path, encoding="utf-8") as file:
    # Code between fences stands at the odd places.
    blocks = re.split(r"(^```.*?^```$)", file.read(), flags=re.MULTILINE | re.DOTALL)
for i in range(0, len(blocks), 2):
    blocks[i] = re.sub(r"^(#+) (.*)$", heading, prose(blocks[i]), flags=re.MULTILINE)
print("".join(blocks), end="")
