# syntax=docker/dockerfile:1.20
# The binary is linked statically with the C library of the build image, and built natively on each platform.
# `make image-binary` builds the same binary, and a test runs it in an empty root directory.
FROM rust:1.95.0-bookworm AS build
RUN cargo install --locked cargo-auditable@0.7.7
WORKDIR /build
COPY Cargo.toml Cargo.lock ./
COPY .cargo .cargo
COPY src src
COPY tests tests
ARG TARGETARCH
# The cache keeps compiled dependencies: the EC2 SDK takes long to compile. JEMALLOC_SYS_WITH_LG_PAGE=16 supports arm64
# kernels with pages of 64 KiB.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/build/target,id=target-$TARGETARCH \
    { [ "$TARGETARCH" != arm64 ] || export JEMALLOC_SYS_WITH_LG_PAGE=16; } \
    && cargo auditable rustc --release --locked --bin vpc-peering-operator -- -C target-feature=+crt-static -C link-arg=-Wl,-z,pack-relative-relocs \
    && cp target/release/vpc-peering-operator /vpc-peering-operator

FROM scratch
LABEL org.opencontainers.image.title="vpc-peering-operator" \
      org.opencontainers.image.description="A Kubernetes operator that keeps AWS VPC peering connections as their VpcPeering resources say" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /vpc-peering-operator /vpc-peering-operator
USER 65532:65532
ENTRYPOINT ["/vpc-peering-operator"]
CMD ["run"]
