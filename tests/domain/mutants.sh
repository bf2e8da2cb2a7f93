#!/usr/bin/env bash
# Changes one expression of the domain at a time, and runs the unit tests: mutants.sh [FILE…], such as
# src/peering/authority.rs. Without files, the whole domain. The results are in target/mutants.out.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

# renovate: datasource=crate depName=cargo-mutants
version=27.1.0

folder=${XDG_CACHE_HOME:-$HOME/.cache}/vpc-peering-operator/cargo-mutants/$version
if [[ ! -x $folder/bin/cargo-mutants ]]; then
    echo "building cargo-mutants (once)" >&2
    CARGO_PROFILE_DEV_DEBUG=0 cargo install --quiet --locked --debug --root "$folder" \
        --target-dir "$folder/target" --version "$version" cargo-mutants >&2
    rm -rf "$folder/target"
fi

files=()
for file in "${@:-src/peering/**}"; do
    files+=(--file "**/$file")
done
# Debug information would take most of the time of a build.
export CARGO_PROFILE_DEV_DEBUG=false
mutants() {
    "$folder/bin/cargo-mutants" mutants --package domain --jobs 2 --output target "${files[@]}" "$@"
}

# The exhaustive interleavings take most of the time of the tests: only the changes that the other tests do not find
# need them.
mutants -- --lib -- --skip fuzz --skip interleavings || {
    code=$?
    # 2: some changes were not found. 3: some tests did not end in time.
    [[ $code == 2 || $code == 3 ]] || exit "$code"
}
mutants --iterate -- --lib -- --skip fuzz
