//! Runs the image's binary in a root directory that contains only the files of the image and of a pod.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use environment::{prepare, repository};
use serde_json::{Value, json};

use super::world::World;

/// Path of the CA certificates in the image.
const AUTHORITIES: &str = "etc/ssl/certs/ca-certificates.crt";

/// Runs the operator in `$ROOT`. If the test runs as root, the operator runs as the user of the image.
const LAUNCHER: &str = r#"#!/bin/sh
if [ "$(id -u)" = 0 ]; then user=--userspec=65532:65532; else become=--map-root-user; fi
exec unshare --mount $become sh -c '
    for device in random urandom; do mount --bind "/dev/$device" "$ROOT/dev/$device"; done
    exec chroot '"$user"' "$ROOT" /vpc-peering-operator "$@"
' sh "$@"
"#;

pub async fn the_binary_runs_in_an_empty_root(world: World) -> Result<()> {
    let binary = prepare("tests/image/build.sh")?;
    let root = world.shared.control_plane.folder().join("root");
    let put = |path: &str, content: &[u8]| -> Result<PathBuf> {
        let path = root.join(path);
        std::fs::create_dir_all(path.parent().context("no folder")?)?;
        std::fs::write(&path, content)?;
        Ok(path)
    };
    let program = put("vpc-peering-operator", &std::fs::read(binary)?)?;
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755))?;
    // A kubelet adds these files to every container. Name lookup is a known problem of static C libraries.
    put("etc/hosts", b"127.0.0.1 localhost\n127.0.0.1 ec2.internal\n")?;
    put("etc/resolv.conf", b"")?;
    // Replaces the token and the CA certificate of the service account.
    let variable =
        |name: &str| world.operator.environment.iter().find(|(other, _)| *other == name).map(|(_, value)| value);
    let kubeconfig = variable("KUBECONFIG").context("no kubeconfig")?;
    let mut kubeconfig: Value = serde_json::from_str(&std::fs::read_to_string(kubeconfig)?)?;
    let cluster = &mut kubeconfig["clusters"][0]["cluster"];
    let authority = cluster["certificate-authority"].as_str().context("no authority")?;
    put(AUTHORITIES, &std::fs::read(authority)?)?;
    let server = cluster["server"].as_str().context("no server")?.replace("127.0.0.1", "localhost");
    *cluster = json!({"server": server, "certificate-authority": format!("/{AUTHORITIES}")});
    put("kubeconfig", kubeconfig.to_string().as_bytes())?;

    // Two of the devices that every container has:
    // https://github.com/opencontainers/runtime-spec/blob/main/config-linux.md#default-devices
    put("dev/random", b"")?;
    put("dev/urandom", b"")?;
    let launcher = world.shared.control_plane.folder().join("in-empty-root");
    std::fs::write(&launcher, LAUNCHER)?;
    std::fs::set_permissions(&launcher, std::fs::Permissions::from_mode(0o755))?;
    std::fs::set_permissions(&root, std::fs::Permissions::from_mode(0o755))?;

    let mut operator = world.operator.clone();
    operator.program = launcher;
    let endpoint = world.endpoint.replace("127.0.0.1", "ec2.internal");
    ensure!(endpoint != world.endpoint, "{endpoint} is not reached by a name");
    let operator = operator.with("AWS_ENDPOINT_URL", &endpoint).with("KUBECONFIG", "/kubeconfig");
    // A collector that is never reached, for whose sake the certificates of authorities are read.
    let operator = operator.with("OTEL_EXPORTER_OTLP_ENDPOINT", "https://localhost:1");
    let operator = operator.with("ROOT", &root.to_string_lossy()).start().await?;
    world.apply(&world.manifest()).await?;
    world.until_ready().await?;
    operator.get("/readyz").await?;
    world.delete().await?;
    world.until_gone().await?;
    ensure!(world.live_peerings().await?.is_empty());
    Ok(())
}

/// The Makefile, the test and the Dockerfile must build the same binary.
pub async fn the_image_is_built_like_the_tested_binary(_: World) -> Result<()> {
    let read = |path: &str| std::fs::read_to_string(repository().join(path));
    let (dockerfile, makefile) = (read("Dockerfile")?, read("Makefile")?);
    let flags = "-C target-feature=+crt-static -C link-arg=-Wl,-z,pack-relative-relocs";
    let build = format!("rustc --release --locked --bin vpc-peering-operator -- {flags}");
    ensure!(dockerfile.contains(&build) && makefile.contains(&build), "not built by {build}");
    ensure!(read("tests/image/build.sh")?.contains(flags));
    let toolchain = read("rust-toolchain.toml")?;
    let version = toolchain.lines().find_map(|line| line.strip_prefix("channel = ")).context("no channel")?;
    ensure!(dockerfile.contains(&format!("FROM rust:{}-", version.trim_matches('"'))), "not Rust {version}");
    // The user of the image is the pods'.
    let values = read("charts/vpc-peering-operator/values.yaml")?;
    ensure!(dockerfile.contains(&format!(" /{AUTHORITIES}")), "no certificates");
    ensure!(dockerfile.contains("USER 65532:65532") && values.contains("runAsUser: 65532"));
    Ok(())
}
