#!/usr/bin/env bash
# Makes a virtual environment of requirements.txt in a cache folder, once,
# and prints that folder on standard output; progress goes to standard error.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

# A change of any pin is a new folder.
pins=$(git hash-object requirements.txt)
venv=${XDG_CACHE_HOME:-$HOME/.cache}/vpc-peering-operator/python/${pins:0:12}
if [[ ! -e $venv/complete ]]; then
    echo "installing $(grep -v '^#' requirements.txt | paste -sd' ') (once)" >&2
    mkdir -p "$venv"
    python3 -m venv --clear "$venv" >&2
    "$venv/bin/pip" install --quiet --disable-pip-version-check --requirement requirements.txt >&2
    touch "$venv/complete"
fi
echo "$venv"
