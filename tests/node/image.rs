//! An OCI archive with the image of the Dockerfile, made from a binary. No registry and no Docker are required.
//! <https://github.com/opencontainers/image-spec/blob/main/image-layout.md>

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use environment::repository;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// The path of the CA certificates, on Debian and in the image.
pub const AUTHORITIES: &str = "etc/ssl/certs/ca-certificates.crt";

/// One image.
#[derive(Debug)]
pub struct Image {
    /// The names, such as `docker.io/library/pause:node`.
    pub names: Vec<String>,
    /// The files, as (path in the image, path on this machine).
    pub files: Vec<(String, PathBuf)>,
    /// The `config` of the image: user, entrypoint and command.
    pub config: Value,
}

impl Image {
    /// The image of the Dockerfile, with this binary.
    ///
    /// # Errors
    /// If the Dockerfile is not as expected.
    pub fn of_dockerfile(binary: &Path, names: &[&str]) -> Result<Self> {
        let dockerfile = fs::read_to_string(repository().join("Dockerfile"))?;
        let (_, image) = dockerfile.split_once("FROM scratch\n").context("the image is not made from scratch")?;
        let argument = |instruction: &str| {
            let line = image.lines().find_map(|line| line.strip_prefix(instruction));
            line.with_context(|| format!("the Dockerfile has no {instruction}"))
        };
        let config = json!({
            "User": argument("USER ")?,
            "Entrypoint": serde_json::from_str::<Value>(argument("ENTRYPOINT ")?)?,
            "Cmd": serde_json::from_str::<Value>(argument("CMD ")?)?,
        });
        let mut files = Vec::new();
        for line in image.lines().filter_map(|line| line.strip_prefix("COPY --from=build ")) {
            let (from, to) = line.split_once(' ').context("COPY without a destination")?;
            let source = if from == "/vpc-peering-operator" { binary.to_owned() } else { PathBuf::from(from) };
            files.push((to.trim_start_matches('/').to_owned(), source));
        }
        ensure!(files.iter().any(|(to, _)| to == AUTHORITIES), "the Dockerfile copies no CA certificates");
        Ok(Self { names: names.iter().map(|&name| name.to_owned()).collect(), files, config })
    }

    /// Writes the OCI archive of the image into a folder, and returns its path.
    ///
    /// # Errors
    /// If a file cannot be read or written.
    pub fn archive(&self, folder: &Path) -> Result<PathBuf> {
        let (root, layout) = (folder.join("root"), folder.join("layout"));
        for (to, from) in &self.files {
            let to = root.join(to);
            fs::create_dir_all(to.parent().context("no folder")?)?;
            fs::copy(from, &to).with_context(|| format!("cannot copy {}", from.display()))?;
            let is_program = fs::metadata(from)?.permissions().mode() & 0o111 != 0;
            fs::set_permissions(&to, fs::Permissions::from_mode(if is_program { 0o755 } else { 0o644 }))?;
        }
        let layer = folder.join("layer.tar");
        tar(&root, &layer)?;
        fs::create_dir_all(layout.join("blobs/sha256"))?;
        let layer = put(&layout, &fs::read(layer)?, "application/vnd.oci.image.layer.v1.tar")?;
        let architecture = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
        let config = json!({
            "architecture": architecture,
            "os": "linux",
            "config": self.config,
            "rootfs": {"type": "layers", "diff_ids": [layer["digest"]]},
        });
        let config = put(&layout, config.to_string().as_bytes(), "application/vnd.oci.image.config.v1+json")?;
        let media_type = "application/vnd.oci.image.manifest.v1+json";
        let manifest = json!({"schemaVersion": 2, "mediaType": media_type, "config": config, "layers": [layer]});
        let manifest = put(&layout, manifest.to_string().as_bytes(), media_type)?;
        let named = |name: &String| {
            let mut manifest = manifest.clone();
            manifest["annotations"] = json!({"io.containerd.image.name": name});
            manifest
        };
        let manifests: Vec<_> = self.names.iter().map(named).collect();
        let index = json!({"schemaVersion": 2, "manifests": manifests});
        fs::write(layout.join("index.json"), index.to_string())?;
        fs::write(layout.join("oci-layout"), r#"{"imageLayoutVersion": "1.0.0"}"#)?;
        let archive = folder.join("image.tar");
        tar(&layout, &archive)?;
        Ok(archive)
    }
}

/// Stores a blob, and returns its descriptor.
fn put(layout: &Path, content: &[u8], media_type: &str) -> Result<Value> {
    let digest: String = Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect();
    fs::write(layout.join("blobs/sha256").join(&digest), content)?;
    Ok(json!({"mediaType": media_type, "digest": format!("sha256:{digest}"), "size": content.len()}))
}

fn tar(folder: &Path, archive: &Path) -> Result<()> {
    let owner = ["--numeric-owner", "--owner=0", "--group=0"];
    let status = Command::new("tar").args(owner).arg("-C").arg(folder).arg("-cf").arg(archive).arg(".").status()?;
    ensure!(status.success(), "cannot write {}", archive.display());
    Ok(())
}
