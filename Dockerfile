# syntax=docker/dockerfile:1
FROM --platform=$BUILDPLATFORM rust:1.95-alpine AS build
ARG TARGETARCH
RUN apk add --no-cache clang lld musl-dev
WORKDIR /build
COPY rust-toolchain.toml Cargo.toml Cargo.lock ./
COPY src src
COPY tests tests
# The linker and C compiler of LLVM serve both architectures.
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/build/target,id=target-$TARGETARCH \
    case "$TARGETARCH" in amd64) target=x86_64-unknown-linux-musl ;; arm64) target=aarch64-unknown-linux-musl ;; esac \
    && rustup target add "$target" \
    && export CC=clang CARGO_TARGET_X86_64_UNKNOWN_LINUX_MUSL_LINKER=rust-lld CARGO_TARGET_AARCH64_UNKNOWN_LINUX_MUSL_LINKER=rust-lld \
    && cargo build --release --locked --target "$target" --bin vpc-peering-operator \
    && cp "target/$target/release/vpc-peering-operator" /vpc-peering-operator

FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /vpc-peering-operator /vpc-peering-operator
USER 65532:65532
ENTRYPOINT ["/vpc-peering-operator"]
CMD ["run"]
