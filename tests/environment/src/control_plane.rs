//! etcd and kube-apiserver.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose,
};
use serde_json::json;
use tempfile::TempDir;
use tokio::process::Command;

use crate::{Process, eventually, free_port, prepare, repository};

/// Where `deploy/` puts the operator.
const NAMESPACE: &str = "vpc-peering-system";
const SERVICE_ACCOUNT: &str = "vpc-peering-operator";

/// A control plane of its own.
#[derive(Debug)]
pub struct ControlPlane {
    url: String,
    certificate_authority: PathBuf,
    assets: PathBuf,
    /// The administrator's.
    kubeconfig: PathBuf,
    // Fields are dropped in this order: first the API server, then etcd, then what they wrote.
    kube_apiserver: Process,
    _etcd: Process,
    folder: TempDir,
}

impl ControlPlane {
    /// Builds what is missing, starts it, and applies `deploy/`.
    ///
    /// # Errors
    /// When a process does not start or the API server does not get ready.
    pub async fn start() -> Result<Self> {
        let this = Self::bare().await?;
        let deploy = repository().join("deploy");
        this.kubectl(&["apply", "--server-side", "-k", &deploy.to_string_lossy()]).await?;
        this.kubectl(&["wait", "--for=condition=Established", "crd", "--all"]).await?;
        Ok(this)
    }

    /// Builds what is missing, and starts it.
    ///
    /// # Errors
    /// When a process does not start or the API server does not get ready.
    pub async fn bare() -> Result<Self> {
        let assets = prepare("tests/control-plane/build.sh")?;
        let folder = tempfile::Builder::new().prefix("vpc-peering-").tempdir()?;
        let path = |name: &str| folder.path().join(name);
        let text = |name: &str| path(name).to_string_lossy().into_owned();
        let (client_port, peer_port, port) = (free_port()?, free_port()?, free_port()?);
        let url = format!("https://127.0.0.1:{port}");
        let certificate_authority = write_certificates(folder.path())?;
        std::fs::write(path("tokens.csv"), "admin,admin,admin,system:masters\n")?;
        let client_url = format!("http://127.0.0.1:{client_port}");
        let peer_url = format!("http://127.0.0.1:{peer_port}");
        let etcd = Process::start(
            &assets.join("etcd"),
            &[
                "--unsafe-no-fsync".into(),
                format!("--data-dir={}", text("etcd")),
                format!("--listen-client-urls={client_url}"),
                format!("--advertise-client-urls={client_url}"),
                format!("--listen-peer-urls={peer_url}"),
                format!("--initial-advertise-peer-urls={peer_url}"),
                format!("--initial-cluster=default={peer_url}"),
            ],
            &[],
            &path("etcd.log"),
        )
        .await?;
        let kube_apiserver = Process::start(
            &assets.join("kube-apiserver"),
            &[
                format!("--etcd-servers={client_url}"),
                "--bind-address=127.0.0.1".into(),
                format!("--secure-port={port}"),
                format!("--cert-dir={}", text("certificates")),
                format!("--tls-cert-file={}", text("serving.crt")),
                format!("--tls-private-key-file={}", text("serving.key")),
                format!("--token-auth-file={}", text("tokens.csv")),
                "--authorization-mode=RBAC".into(),
                "--service-account-issuer=https://kubernetes.default.svc".into(),
                format!("--service-account-key-file={}", text("service-account.pub")),
                format!("--service-account-signing-key-file={}", text("service-account.key")),
                "--service-cluster-ip-range=10.0.0.0/24".into(),
            ],
            &[],
            &path("kube-apiserver.log"),
        )
        .await?;
        let kubeconfig = path("kubeconfig");
        std::fs::write(&kubeconfig, render_kubeconfig(&url, &certificate_authority, "admin"))?;
        let mut this = Self { url, certificate_authority, assets, kubeconfig, kube_apiserver, _etcd: etcd, folder };
        this.ready().await?;
        Ok(this)
    }

    async fn ready(&mut self) -> Result<()> {
        // On a cold and busy machine it may take a while.
        eventually("kube-apiserver", Duration::from_secs(120), async || {
            if let Err(error) = self.kube_apiserver.check() {
                return Ok(Err(error));
            }
            self.kubectl(&["get", "--raw", "/readyz"]).await?;
            // The default namespaces come a moment later.
            self.kubectl(&["get", "namespace", "kube-system", "default"]).await?;
            Ok(Ok(()))
        })
        .await?
    }

    /// Runs kubectl as the administrator, and returns what it printed.
    ///
    /// # Errors
    /// When kubectl fails, with what it says.
    pub async fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        let output = Command::new(self.assets.join("kubectl"))
            .arg("--kubeconfig")
            .arg(&self.kubeconfig)
            .args(arguments)
            // Its discovery cache must not mix clusters.
            .env("KUBECACHEDIR", self.folder.path().join("kubectl"))
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output()
            .await
            .context("cannot run kubectl")?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr).trim_end());
        Ok(String::from_utf8(output.stdout)?)
    }

    /// A client with the administrator's rights.
    ///
    /// # Errors
    /// When the kubeconfig is not understood: a defect.
    pub async fn admin(&self) -> Result<Client> {
        let kubeconfig = Kubeconfig::read_from(&self.kubeconfig)?;
        Ok(Client::try_from(Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?)?)
    }

    /// The administrator's kubeconfig.
    #[must_use]
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// Where kubectl is.
    #[must_use]
    pub fn kubectl_path(&self) -> PathBuf {
        self.assets.join("kubectl")
    }

    /// A folder for logs and the like, which goes with the control plane.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Writes a kubeconfig with just the rights that `deploy/` grants the operator.
    ///
    /// # Errors
    /// When the API server issues no token.
    pub async fn operator_kubeconfig(&self) -> Result<PathBuf> {
        self.kubeconfig_of(NAMESPACE, SERVICE_ACCOUNT).await
    }

    /// Writes a kubeconfig with just the rights of a service account.
    ///
    /// # Errors
    /// When the API server issues no token.
    pub async fn kubeconfig_of(&self, namespace: &str, service_account: &str) -> Result<PathBuf> {
        let token =
            self.kubectl(&["create", "token", service_account, "--namespace", namespace, "--duration=24h"]).await?;
        let path = self.folder.path().join(format!("{namespace}.{service_account}.kubeconfig"));
        tokio::fs::write(&path, render_kubeconfig(&self.url, &self.certificate_authority, token.trim_end())).await?;
        Ok(path)
    }
}

/// A kubeconfig; JSON is YAML.
fn render_kubeconfig(url: &str, certificate_authority: &Path, token: &str) -> String {
    json!({
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "test",
        "clusters": [{"name": "test", "cluster": {"server": url, "certificate-authority": certificate_authority}}],
        "users": [{"name": "test", "user": {"token": token}}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
    })
    .to_string()
}

/// A certificate authority, the API server's certificate, and the key that signs service accounts' tokens.
fn write_certificates(folder: &Path) -> Result<PathBuf> {
    let mut authority = CertificateParams::new(Vec::<String>::new())?;
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate()?)?;
    let mut serving = CertificateParams::new(vec!["127.0.0.1".to_owned(), "localhost".to_owned()])?;
    serving.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let key = KeyPair::generate()?;
    let path = folder.join("ca.crt");
    std::fs::write(&path, authority.pem())?;
    std::fs::write(folder.join("serving.crt"), serving.signed_by(&key, &authority)?.pem())?;
    std::fs::write(folder.join("serving.key"), key.serialize_pem())?;
    let key = KeyPair::generate()?;
    std::fs::write(folder.join("service-account.key"), key.serialize_pem())?;
    std::fs::write(folder.join("service-account.pub"), key.public_key_pem())?;
    Ok(path)
}
