#!/usr/bin/env bash
# Builds mdbook and its preprocessor for Mermaid diagrams into a cache folder, unless they are there already. Prints the
# folder on standard output, and progress on standard error.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

# renovate: datasource=crate depName=mdbook
mdbook=0.5.4
# renovate: datasource=crate depName=mdbook-mermaid
mdbook_mermaid=0.17.1

folder=${XDG_CACHE_HOME:-$HOME/.cache}/vpc-peering-operator/mdbook/$mdbook-$mdbook_mermaid

# install PACKAGE VERSION FLAGS: a debug build takes a fraction of the time of a release build, and is fast enough for
# these pages.
install() {
    local package=$1 version=$2
    shift 2
    [[ -x $folder/bin/$package ]] && return
    echo "building $package (once)" >&2
    # Both programs share most of their dependencies.
    CARGO_PROFILE_DEV_DEBUG=0 cargo install --quiet --locked --debug --root "$folder" \
        --target-dir "$folder/target" --version "$version" "$@" "$package" >&2
}

# Without the server and the watcher, which have many dependencies.
install mdbook "$mdbook" --no-default-features --features search
install mdbook-mermaid "$mdbook_mermaid"
rm -rf "$folder/target"
echo "$folder/bin"
