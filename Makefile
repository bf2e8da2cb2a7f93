# make demo   shows the main job, on a real API server
# make test   runs every check and test
# make generate   writes what is generated from the code

.PHONY: demo test lint generate needs
.DEFAULT_GOAL := test

# Says what is missing before anything is built.
needs:
	@missing=; \
	for program in cargo go python3 git bash; do command -v $$program >/dev/null || missing="$$missing $$program"; done; \
	[ -z "$$missing" ] || { echo "missing:$$missing. Install Rust (https://rustup.rs), Go (https://go.dev/dl) and Python 3 with venv." >&2; exit 1; }
	@python3 -c 'import venv, ensurepip' 2>/dev/null || { echo "missing: Python's venv module (python3-venv on Debian)" >&2; exit 1; }

demo: needs
	@tests/control-plane/build.sh >/dev/null
	cargo build --locked --bin vpc-peering-operator --example demo
	@target/debug/examples/demo

test: needs lint
	@tests/control-plane/build.sh >/dev/null
	@tests/control-plane/build.sh helm >/dev/null
	@tests/python/venv.sh >/dev/null
	cargo test --locked --workspace

lint: needs
	cargo fmt --check
	cargo clippy --locked --workspace --all-targets

generate: needs
	cargo run --locked --quiet -- crd > crds/vpcpeering.dev.yaml
	cp crds/vpcpeering.dev.yaml charts/vpc-peering-operator/files/crds.yaml
	cargo run --locked --quiet -- reference conditions > docs/conditions.md
	cargo run --locked --quiet -- reference metrics > docs/metrics.md
