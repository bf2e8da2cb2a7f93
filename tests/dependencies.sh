#!/usr/bin/env bash
# Checks the dependencies: bans, licenses, sources and security advisories (cargo-deny), and whether all of them are used
# (cargo-shear).
#
# The advisory database is fetched from GitHub. Without it, the advisories are skipped, unless ADVISORIES=required.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
programs=$(tests/python/venv.sh)/bin

"$programs/cargo-deny" --locked --all-features check bans licenses sources
"$programs/cargo-shear" --locked
if error=$(timeout 120 "$programs/cargo-deny" --locked fetch db 2>&1); then
    "$programs/cargo-deny" --locked --all-features check advisories
elif [[ ${ADVISORIES:-} == required ]]; then
    echo "cannot fetch the advisory database: $error" >&2
    exit 1
else
    echo "security advisories: skipped, because the advisory database cannot be fetched"
fi
