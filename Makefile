# make demo           shows the operator on a real API server and a simulated EC2
# make test           runs all checks and tests (the default)
# make test-node      runs the image on a real node: kubelet, containerd and runc; requires root, see CONTRIBUTING.md
# make lint           checks formatting and runs Clippy
# make deny           checks bans, licenses, sources, advisories and use of the dependencies
# make docs           builds the documentation as a site into target/docs, and checks all links
# make pictures       draws the pictures of the documentation, from its numbers and runs of the demo
# make workflows      checks the GitHub workflows and forms, and the configuration of Renovate
# make generate       writes the files that are generated from the code and the chart
# make hooks          installs the pre-commit hook, which runs the first checks
# make soak           runs the endurance test: make soak SECONDS=3600 SEED=1
# make bench          measures calls, times, CPU and memory
# make mutants        changes the decisions one expression at a time, and runs the unit tests; FILES selects files
# make fuzz           runs random inputs against the readers and decisions; SECONDS or COUNT for each target
# make contract-aws   runs the contract tests of EC2 in two AWS accounts; see CONTRIBUTING.md
# make image-binary   builds the binary of the image and prints its size
# make reproducible   builds the binary of the image twice, and compares
# make sbom           writes the software bill of materials
# make help           prints these lines

.PHONY: demo test test-node lint deny docs pictures soak workflows generate hooks bench fuzz mutants contract-aws image-binary reproducible sbom help needs needs-demo needs-python
.DEFAULT_GOAL := test

# Fails early if a required program is missing.
needs:
	@missing=; \
	for program in cargo go git bash; do command -v $$program >/dev/null || missing="$$missing $$program"; done; \
	[ -z "$$missing" ] || { echo "missing programs:$$missing. Install Rust (https://rustup.rs), Go (https://go.dev/dl), git and bash." >&2; exit 1; }

# Go only builds the Kubernetes programs.
needs-demo:
	@[ -z "$(KUBEBUILDER_ASSETS)" ] && exec $(MAKE) --no-print-directory needs; \
	command -v cargo >/dev/null || { echo "missing program: cargo. Install Rust (https://rustup.rs)." >&2; exit 1; }

needs-python:
	@python3 -c 'import venv, ensurepip' || { echo "missing: Python 3 with the venv module; install python3 and python3-venv on Debian" >&2; exit 1; }

demo: needs-demo
	@[ -e target/debug/examples/demo ] || echo "The first run builds $(if $(KUBEBUILDER_ASSETS),,etcd, kubectl and kube-apiserver (about 6 minutes on 2 cores) and )the operator (about 10 minutes)." >&2
	@tests/control-plane/build.sh >/dev/null
	cargo build --locked --workspace --bin vpc-peering-operator --example demo
	@target/debug/examples/demo

# BENCH=quick skips the large benchmarks; BENCH=200 measures 200 resources; BENCH=deletion
# measures only deletions, and BENCH=quota only requests under a quota.
bench: needs needs-python
	@tests/control-plane/build.sh >/dev/null
	cargo rustc --locked --release --bin vpc-peering-operator -- -C target-feature=+crt-static -C link-arg=-Wl,-z,pack-relative-relocs
	cargo build --locked --workspace --bin bench
	@target/debug/bench

test: needs needs-python lint deny docs workflows
	@tests/control-plane/build.sh >/dev/null
	@tests/control-plane/build.sh kube-controller-manager >/dev/null
	@tests/control-plane/build.sh helm >/dev/null
	@tests/control-plane/build.sh promtool >/dev/null
	@tests/control-plane/build.sh gitops >/dev/null
	@tests/control-plane/build.sh flux >/dev/null
	@tests/control-plane/build.sh helm-docs >/dev/null
	@$$(tests/python/venv.sh)/bin/hadolint --failure-threshold style Dockerfile
	@$$(tests/python/venv.sh)/bin/python -W ignore tests/python/lint_policies.py deploy/iam/*.json
	@$$(tests/python/venv.sh)/bin/cfn-lint deploy/iam/one-account/cloudformation.yaml
	@tests/reproducible.sh --self-test
	cargo test --locked --workspace
	@$(MAKE) --no-print-directory soak SECONDS=120

# The length in seconds, and the seed of the actions. OPERATOR is another binary, such as a release build.
SECONDS = 3600
SEED = 1
OPERATOR = target/debug/vpc-peering-operator
soak: needs
	@tests/control-plane/build.sh >/dev/null
	@tests/control-plane/build.sh kube-controller-manager >/dev/null
	cargo build --locked --workspace --bin vpc-peering-operator --bin soak
	@target/debug/soak --seconds $(SECONDS) --seed $(SEED) --operator $(OPERATOR)

# SECONDS=60 or COUNT=100000 for each target, and TARGET=fuzz_objects for one. A failing input is added to tests/fuzz.
# The shell has a variable SECONDS of its own, so that only that of the command line counts.
fuzz: needs
	FUZZ_SECONDS=$(if $(filter command line,$(origin SECONDS)),$(SECONDS),$(if $(COUNT),,60)) FUZZ_COUNT=$(COUNT) \
		cargo test --locked --workspace --lib -- $(or $(TARGET),fuzz_) --nocapture --test-threads=1

# OPERATOR_BINARY is a static binary, such as that of image-binary; by default, tests/image/build.sh builds one.
# FILTER selects tests by a part of their names.
test-node: needs
	cargo build --locked --workspace --example node
	@target/debug/examples/node $(FILTER)

# FILES=src/peering/authority.rs, or several in quotes.
mutants: needs
	@tests/domain/mutants.sh $(FILES)

contract-aws: needs
	cargo test --locked --workspace --test simulator -- --ignored --exact --nocapture \
		contract::aws::the_contract_holds_on_aws

lint: needs
	cargo fmt --check
	cargo clippy --locked --workspace --all-targets

# ADVISORIES=required fails if the advisory database cannot be fetched; otherwise the advisories are skipped then.
deny: needs needs-python
	@tests/dependencies.sh

docs: needs needs-python
	@tests/docs/site.sh

pictures: needs needs-python
	@tests/control-plane/build.sh >/dev/null
	cargo build --locked --workspace --bin vpc-peering-operator --example demo
	@tests/docs/pictures.sh

workflows: needs needs-python
	@$$(tests/control-plane/build.sh actionlint)/actionlint -shellcheck= -pyflakes= .github/workflows/*.yaml
	@$$(tests/python/venv.sh)/bin/zizmor --offline --quiet --no-progress .github
	@$$(tests/python/venv.sh)/bin/check-jsonschema --quiet --builtin-schema vendor.renovate renovate.json
	@$$(tests/python/venv.sh)/bin/check-jsonschema --quiet --builtin-schema vendor.github-issue-config .github/ISSUE_TEMPLATE/config.yml
	@$$(tests/python/venv.sh)/bin/check-jsonschema --quiet --builtin-schema vendor.github-issue-forms .github/ISSUE_TEMPLATE/bug.yml .github/ISSUE_TEMPLATE/feature.yml

generate: needs
	cargo build --locked --workspace
	target/debug/vpc-peering-operator crd > crds/vpcpeering.dev.yaml
	cp crds/vpcpeering.dev.yaml charts/vpc-peering-operator/files/crds.yaml
	target/debug/vpc-peering-operator reference api > docs/api.md
	target/debug/vpc-peering-operator reference conditions > docs/conditions.md
	target/debug/vpc-peering-operator reference metrics > docs/metrics.md
	target/debug/vpc-peering-operator reference cli > docs/cli.md
	deploy/render.sh deploy
	$$(tests/control-plane/build.sh helm-docs)/helm-docs --chart-search-root charts --sort-values-order file

hooks:
	git config core.hooksPath .githooks

help:
	@sed -n 's/^# \(make .*\)/\1/p' Makefile

# Builds the binary as the Dockerfile does, and fails if it has 20 MB or more. Takes many minutes.
# Requires cargo-auditable: cargo install --locked cargo-auditable
image-binary: needs
	cargo auditable rustc --release --locked --bin vpc-peering-operator -- -C target-feature=+crt-static -C link-arg=-Wl,-z,pack-relative-relocs
	@size=$$(wc -c < target/release/vpc-peering-operator); echo "$$size bytes"; [ $$size -lt 20000000 ]

# Takes twice the time of image-binary.
reproducible: needs
	@tests/reproducible.sh

# Writes the SBOM of the image in CycloneDX format to target/sbom.cdx.json.
# Requires cargo-cyclonedx: cargo install --locked cargo-cyclonedx
sbom: needs
	@mkdir -p target
	cargo cyclonedx --format json --spec-version 1.5 --no-build-deps --override-filename sbom.cdx
	@# Remove the local path from the SBOM.
	sed 's|path+file://$(CURDIR)#||' sbom.cdx.json > target/sbom.cdx.json
	rm sbom.cdx.json tests/*/sbom.cdx.json
