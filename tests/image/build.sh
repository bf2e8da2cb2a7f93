#!/usr/bin/env bash
# Links the operator statically with the C library, as in the image, and prints the path of the binary. It uses the
# unoptimized libraries of the tests, because `make image-binary`, which builds the release binary, takes many minutes.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

artifacts=$(cargo test --quiet --locked --workspace --no-run --test e2e --message-format json)
# library NAME: the path of the compiled library of a crate.
library() {
    sed -n "s/.*\"kind\":\[\"lib\"\].*\"name\":\"$1\".*\"filenames\":\[\"\([^\"]*\.rlib\)\".*/\1/p" <<<"$artifacts" | tail -1
}
operator=$(library vpc_peering_operator)
folder=$(dirname "$operator")
binary=$folder/../image/vpc-peering-operator
mkdir -p "$(dirname "$binary")"
if [[ ! $binary -nt $operator ]]; then
    rustc --edition 2024 src/main.rs -o "$binary" -C target-feature=+crt-static -C link-arg=-Wl,-z,pack-relative-relocs -C strip=debuginfo \
        -L dependency="$folder" --extern vpc_peering_operator="$operator" --extern clap="$(library clap)" \
        --extern tikv_jemallocator="$(library tikv_jemallocator)"
fi
echo "$binary"
