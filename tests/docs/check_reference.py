#!/usr/bin/env python3
"""Says how many public names the reference has, and fails if one is missing or has no comment.

check_reference.py <list of names> <tag file> <folder of Doxygen's XML>

The list has what programs rely on, one name in each line; the tag file has what the reference can be linked to. The
XML has all that Doxygen found in the public headers, each with its comment: also what the list does not know of yet.
"""
import pathlib
import sys
import xml.etree.ElementTree as xml

names_file, tag_file, xml_folder = map(pathlib.Path, sys.argv[1:])


def text_of(element, *children):
    return "".join("".join(part.itertext()) for child in children for part in element.findall(child)).strip()


def tagged():
    """The names that the tag file has."""
    for compound in xml.parse(tag_file).getroot().iter("compound"):
        if compound.get("kind") not in ("class", "struct", "namespace", "file"):
            continue
        scope = ""
        if compound.get("kind") != "file":
            scope = compound.findtext("name") + "::"
            yield compound.findtext("name")
        for member in compound.findall("member"):
            yield scope + member.findtext("name")
            # An enumerator of a scoped enumeration stands beside it in the tag file.
            if member.get("kind") == "enumeration":
                for value in member.findall("enumvalue"):
                    yield f"{scope}{member.findtext('name')}::{value.text}"


def described():
    """(name, whether it has a comment) of all that is public; overloads come one by one."""
    for file in sorted(xml_folder.glob("*.xml")):
        for compound in xml.parse(file).getroot().iter("compounddef"):
            kind, scope = compound.get("kind"), compound.findtext("compoundname")
            if kind in ("class", "struct"):
                yield scope, has_comment(compound)
            elif kind not in ("namespace", "file"):
                continue
            for member in compound.iter("memberdef"):
                if member.get("prot") != "public" or (kind == "file" and member.get("kind") != "define"):
                    continue
                if member.get("kind") == "friend" and member.findtext("type").startswith("friend class"):
                    continue
                name = member.findtext("name") if kind == "file" else f"{scope}::{member.findtext('name')}"
                yield name, has_comment(member)
                for value in member.findall("enumvalue"):
                    yield f"{name}::{value.findtext('name')}", has_comment(value)


def has_comment(element):
    return bool(text_of(element, "briefdescription", "detaileddescription"))


wanted = [line.strip() for line in names_file.read_text().splitlines() if line.strip() and not line.startswith("#")]
linked = set(tagged())
found = list(described())
names = {name for name, _ in found}

complaints = [f"the reference cannot be linked to by: {name}" for name in wanted if name not in linked]
complaints += [f"not in the reference: {name}" for name in wanted if name not in names]
complaints += [f"has no comment: {name}" for name, has in found if not has]
complaints += [f"public, but not in {names_file.name}: {name}" for name in sorted(names - set(wanted))]
print(*complaints, sep="\n", end="\n" if complaints else "")
print(f"{len(names)} public names ({len(found)} with overloads), {sum(has for _, has in found)} of these with a comment")
sys.exit(bool(complaints))
