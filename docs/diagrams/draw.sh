#!/usr/bin/env bash
# Draws the diagrams of README and docs: each .svg from the .dot beside it.
#   docs/diagrams/draw.sh           those whose source has changed (needs graphviz and python3)
#   docs/diagrams/draw.sh --check   draws nothing; fails if one was not drawn from its source as it is
# The .svg files are committed, so that they are seen wherever the README is read. Each ends with the checksum of
# its source, finish.py and dark.css. A source's lines "// Title: …" and "// Description: …" go into its .svg.
set -euo pipefail

cd "$(dirname "$0")"
failed=0
for source in *.dot; do
  drawing=${source%.*}.svg
  mark="<!-- drawn from $source, SHA-256 $(cat "$source" finish.py dark.css | sha256sum | cut -d ' ' -f 1) -->"
  if [[ -e $drawing && $(tail -n 1 "$drawing") == "$mark" ]]; then
    echo "$drawing is up to date"
  elif [[ ${1:-} == --check ]]; then
    echo "$drawing was not drawn from $source as it is: run docs/diagrams/draw.sh" >&2
    failed=1
  else
    dot -Tsvg -o "$drawing" "$source"
    ./finish.py "$drawing" "$(sed -n 's|^// Title: ||p' "$source")" "$(sed -n 's|^// Description: ||p' "$source")"
    echo "$mark" >>"$drawing"
    echo "$drawing was drawn"
  fi
done
exit "$failed"
