#!/usr/bin/env bash
# Creates a virtual environment with requirements.txt in a cache folder, unless it is there already. Prints the folder on
# standard output, and progress on standard error.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

# The folder name has a hash of the requirements, so that a change leads to a new environment.
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
