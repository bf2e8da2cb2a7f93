//! A control plane: etcd and kube-apiserver as processes.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::body::Bytes;
use hyper_util::client::legacy;
use hyper_util::rt::TokioExecutor;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use nix::sys::signal::Signal;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose,
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::Command;
use tokio::sync::Mutex;

use crate::{Process, eventually, free_port, prepare, repository};

/// Settings of Go's garbage collector. By default it takes a quarter of the API server's CPU time. These let it run
/// less often, up to a memory limit.
const GARBAGE_COLLECTION: [(&str, &str); 2] = [("GOGC", "1000"), ("GOMEMLIMIT", "3GiB")];

/// The data folder of etcd, and the folder with its backup.
const ETCD_DATA: &str = "etcd";
const ETCD_BACKUP: &str = "etcd.saved";

/// The addresses of Services.
const SERVICES: &str = "10.0.0.0/24";

/// The address of the Service `kubernetes`: the first of [`SERVICES`]. Its port is 443.
pub const KUBERNETES_SERVICE: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);

/// The operator's namespace and service account in `deploy/`.
const NAMESPACE: &str = "vpc-peering-system";
const SERVICE_ACCOUNT: &str = "vpc-peering-operator";

/// A running control plane. Dropping it stops its processes.
#[derive(Debug)]
pub struct ControlPlane {
    url: String,
    certificate_authority: PathBuf,
    assets: PathBuf,
    /// The administrator's kubeconfig.
    kubeconfig: PathBuf,
    etcd_url: String,
    etcd_arguments: Vec<String>,
    kube_apiserver_arguments: Vec<String>,
    // Fields are dropped in this order: first the API server, then etcd, then their data.
    kube_apiserver: Mutex<Option<Process>>,
    etcd: Mutex<Option<Process>>,
    folder: TempDir,
}

impl ControlPlane {
    /// Builds the programs if necessary, starts the control plane, and applies `deploy/`.
    ///
    /// # Errors
    /// If a process does not start or the API server does not become ready.
    pub async fn start() -> Result<Self> {
        let this = Self::bare().await?;
        let deploy = repository().join("deploy");
        this.kubectl(&["apply", "--server-side", "-k", &deploy.to_string_lossy()]).await?;
        this.kubectl(&["wait", "--for=condition=Established", "crd", "--all"]).await?;
        Ok(this)
    }

    /// Builds the programs if necessary, and starts the control plane.
    ///
    /// # Errors
    /// If a process does not start or the API server does not become ready.
    pub async fn bare() -> Result<Self> {
        Self::listening_on(SocketAddrV4::new(Ipv4Addr::LOCALHOST, free_port()?)).await
    }

    /// Like [`Self::bare`], with an API server that listens on an address of this machine.
    ///
    /// # Errors
    /// If a process does not start or the API server does not become ready.
    pub async fn listening_on(address: SocketAddrV4) -> Result<Self> {
        let assets = prepare("tests/control-plane/build.sh")?;
        let folder = tempfile::Builder::new().prefix("vpc-peering-").tempdir()?;
        let path = |name: &str| folder.path().join(name);
        let text = |name: &str| path(name).to_string_lossy().into_owned();
        let (client_port, peer_port) = (free_port()?, free_port()?);
        let url = format!("https://{address}");
        let certificate_authority = write_certificates(folder.path(), *address.ip())?;
        std::fs::write(path("tokens.csv"), "admin,admin,admin,system:masters\n")?;
        let client_url = format!("http://127.0.0.1:{client_port}");
        let peer_url = format!("http://127.0.0.1:{peer_port}");
        let etcd_arguments = vec![
            "--unsafe-no-fsync".into(),
            format!("--data-dir={}", text(ETCD_DATA)),
            format!("--listen-client-urls={client_url}"),
            format!("--advertise-client-urls={client_url}"),
            format!("--listen-peer-urls={peer_url}"),
            format!("--initial-advertise-peer-urls={peer_url}"),
            format!("--initial-cluster=default={peer_url}"),
        ];
        let kube_apiserver_arguments = vec![
            format!("--etcd-servers={client_url}"),
            format!("--bind-address={}", address.ip()),
            format!("--secure-port={}", address.port()),
            format!("--cert-dir={}", text("certificates")),
            format!("--tls-cert-file={}", text("serving.crt")),
            format!("--tls-private-key-file={}", text("serving.key")),
            format!("--token-auth-file={}", text("tokens.csv")),
            "--authorization-mode=RBAC".into(),
            "--service-account-issuer=https://kubernetes.default.svc".into(),
            format!("--service-account-key-file={}", text("service-account.pub")),
            format!("--service-account-signing-key-file={}", text("service-account.key")),
            format!("--service-cluster-ip-range={SERVICES}"),
            // The names of nodes cannot be resolved.
            "--kubelet-preferred-address-types=InternalIP".into(),
        ];
        let kubeconfig = path("kubeconfig");
        std::fs::write(&kubeconfig, render_kubeconfig(&url, &certificate_authority, "admin"))?;
        let this = Self {
            url,
            certificate_authority,
            assets,
            kubeconfig,
            etcd_url: client_url,
            etcd_arguments,
            kube_apiserver_arguments,
            kube_apiserver: Mutex::default(),
            etcd: Mutex::default(),
            folder,
        };
        this.start_etcd().await?;
        this.start_kube_apiserver().await?;
        Ok(this)
    }

    async fn start_etcd(&self) -> Result<()> {
        let log = self.folder.path().join("etcd.log");
        let process =
            Process::start(&self.assets.join("etcd"), &self.etcd_arguments, &GARBAGE_COLLECTION, &log).await?;
        *self.etcd.lock().await = Some(process);
        Ok(())
    }

    /// Starts the API server, and waits until it is ready.
    ///
    /// # Errors
    /// If it does not become ready.
    pub async fn start_kube_apiserver(&self) -> Result<()> {
        let log = self.folder.path().join("kube-apiserver.log");
        let program = self.assets.join("kube-apiserver");
        let mut process = Process::start(&program, &self.kube_apiserver_arguments, &GARBAGE_COLLECTION, &log).await?;
        // A generous limit, because a busy machine with cold caches needs long.
        eventually("kube-apiserver", Duration::from_secs(120), async || {
            if let Err(error) = process.check() {
                return Ok(Err(error));
            }
            self.kubectl(&["get", "--raw", "/readyz"]).await?;
            // The API server creates the default namespaces shortly after it is ready.
            self.kubectl(&["get", "namespace", "kube-system", "default"]).await?;
            Ok(Ok(()))
        })
        .await??;
        *self.kube_apiserver.lock().await = Some(process);
        Ok(())
    }

    /// Builds kube-controller-manager if necessary, and starts it with these controllers, a list separated by commas.
    /// `*` starts all that are enabled by default.
    ///
    /// # Errors
    /// If it cannot be built or started.
    pub async fn start_controllers(&self, controllers: &str) -> Result<Process> {
        let program = prepare("tests/control-plane/build.sh kube-controller-manager")?.join("kube-controller-manager");
        let kubeconfig = self.kubeconfig.to_string_lossy();
        let arguments = [
            format!("--kubeconfig={kubeconfig}"),
            format!("--controllers={controllers}"),
            format!("--root-ca-file={}", self.certificate_authority.display()),
            "--leader-elect=false".to_owned(),
            // No HTTP server.
            "--secure-port=0".to_owned(),
        ];
        let log = self.folder.path().join("kube-controller-manager.log");
        Process::start(&program, &arguments, &GARBAGE_COLLECTION, &log).await
    }

    /// Kills the API server, as a failure of its machine does.
    ///
    /// # Errors
    /// If it does not end.
    pub async fn stop_kube_apiserver(&self) -> Result<()> {
        stop(&self.kube_apiserver).await
    }

    /// Kills etcd and starts it again, while the API server runs.
    ///
    /// # Errors
    /// If it does not end or start.
    pub async fn restart_etcd(&self) -> Result<()> {
        stop(&self.etcd).await?;
        self.start_etcd().await
    }

    /// Compacts etcd at its current revision, so that older resource versions are gone:
    /// <https://etcd.io/docs/v3.6/op-guide/maintenance/#history-compaction-v3-api-key-value-database>.
    ///
    /// # Errors
    /// If etcd does not answer.
    pub async fn compact_etcd(&self) -> Result<()> {
        // The key is a null byte in Base64: <https://etcd.io/docs/v3.6/dev-guide/api_grpc_gateway/>.
        let range = self.ask_etcd("kv/range", &json!({"key": "AA=="})).await?;
        let revision = range["header"]["revision"].as_str().with_context(|| format!("no revision in {range}"))?;
        self.ask_etcd("kv/compaction", &json!({"revision": revision})).await.map(drop)
    }

    async fn ask_etcd(&self, path: &str, body: &Value) -> Result<Value> {
        let client = legacy::Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
        let request = Request::post(format!("{}/v3/{path}", self.etcd_url)).body(Full::new(body.to_string().into()))?;
        let reply = client.request(request).await?;
        Ok(serde_json::from_slice(&reply.into_body().collect().await?.to_bytes())?)
    }

    /// Makes a backup of etcd for [`Self::restore`]. Restarts the control plane.
    ///
    /// # Errors
    /// If a process does not end or start again, or the files cannot be copied.
    pub async fn save(&self) -> Result<()> {
        self.copy_while_stopped(ETCD_DATA, ETCD_BACKUP).await
    }

    /// Restores the backup of the last [`Self::save`], as in disaster recovery. Restarts the control plane.
    ///
    /// # Errors
    /// If a process does not end or start again, or the files cannot be copied.
    pub async fn restore(&self) -> Result<()> {
        self.copy_while_stopped(ETCD_BACKUP, ETCD_DATA).await
    }

    async fn copy_while_stopped(&self, from: &str, to: &str) -> Result<()> {
        self.stop_kube_apiserver().await?;
        stop(&self.etcd).await?;
        let (from, to) = (self.folder.path().join(from), self.folder.path().join(to));
        if to.exists() {
            std::fs::remove_dir_all(&to)?;
        }
        let copied = Command::new("cp").arg("-r").args([&from, &to]).status().await?;
        ensure!(copied.success(), "cannot copy {}", from.display());
        self.start_etcd().await?;
        self.start_kube_apiserver().await
    }

    /// Runs kubectl as the administrator, and returns its standard output.
    ///
    /// # Errors
    /// If kubectl fails. The error has its standard error.
    pub async fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        let output = Command::new(self.assets.join("kubectl"))
            .arg("--kubeconfig")
            .arg(&self.kubeconfig)
            .args(arguments)
            // Control planes must not share a discovery cache.
            .env("KUBECACHEDIR", self.folder.path().join("kubectl"))
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output()
            .await
            .context("cannot run kubectl")?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr).trim_end());
        Ok(String::from_utf8(output.stdout)?)
    }

    /// A client with the administrator's permissions.
    ///
    /// # Errors
    /// If the kubeconfig is invalid, which is a bug.
    pub async fn admin(&self) -> Result<Client> {
        client(Kubeconfig::read_from(&self.kubeconfig)?).await
    }

    /// A client with exactly the permissions that `deploy/` grants to the operator.
    ///
    /// # Errors
    /// If the API server issues no token.
    pub async fn operator(&self) -> Result<Client> {
        client(Kubeconfig::read_from(self.operator_kubeconfig().await?)?).await
    }

    /// A client that impersonates the operator's service account and has the administrator's permissions.
    ///
    /// The admission policies of `deploy/` let only this service account write a status or remove the finalizer. They
    /// reject [`Self::admin`], so a test that tampers with either needs this client.
    ///
    /// # Errors
    /// If the kubeconfig is invalid, which is a bug.
    pub async fn admin_as_operator(&self) -> Result<Client> {
        let mut kubeconfig = Kubeconfig::read_from(&self.kubeconfig)?;
        for user in kubeconfig.auth_infos.iter_mut().filter_map(|user| user.auth_info.as_mut()) {
            user.impersonate = Some(format!("system:serviceaccount:{NAMESPACE}:{SERVICE_ACCOUNT}"));
            user.impersonate_groups = Some(vec!["system:masters".to_owned()]);
        }
        client(kubeconfig).await
    }

    /// Removes all finalizers of a resource. It impersonates the operator, because the admission policies allow it to
    /// nobody else.
    ///
    /// # Errors
    /// If kubectl fails. The error has its standard error.
    pub async fn remove_finalizers(&self, kind: &str, namespace: &str, name: &str) -> Result<()> {
        let operator = format!("--as=system:serviceaccount:{NAMESPACE}:{SERVICE_ACCOUNT}");
        let patch = ["patch", kind, name, "--namespace", namespace, "--type=merge"];
        let finalizers = ["-p", r#"{"metadata":{"finalizers":null}}"#, &operator, "--as-group=system:masters"];
        self.kubectl(&[&patch[..], &finalizers].concat()).await.map(drop)
    }

    /// Lets the operator use another Lease for leader election than the one in `deploy/`, in the same namespace.
    ///
    /// # Errors
    /// If kubectl fails. The error has its standard error.
    pub async fn allow_lease(&self, name: &str) -> Result<()> {
        let (namespace, resource) = (format!("--namespace={NAMESPACE}"), format!("--resource-name={name}"));
        let role = ["create", "role", name, "--verb=get,patch", "--resource=leases.coordination.k8s.io"];
        self.kubectl(&[&role[..], &[&resource, &namespace]].concat()).await?;
        let account = format!("--serviceaccount={NAMESPACE}:{SERVICE_ACCOUNT}");
        let role = format!("--role={name}");
        self.kubectl(&["create", "rolebinding", name, &role, &account, &namespace]).await.map(drop)
    }

    /// Writes a kubeconfig without credentials, for an API server or for a proxy that adds its own.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn open_kubeconfig(&self, name: &str, url: &str) -> Result<PathBuf> {
        let path = self.folder.path().join(format!("{name}.kubeconfig"));
        std::fs::write(&path, render_kubeconfig(url, &self.certificate_authority, "none"))?;
        Ok(path)
    }

    /// The administrator's kubeconfig.
    #[must_use]
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// The path of kubectl.
    #[must_use]
    pub fn kubectl_path(&self) -> PathBuf {
        self.assets.join("kubectl")
    }

    /// A folder for logs and other files, which is deleted with the control plane.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Writes a kubeconfig with exactly the permissions that `deploy/` grants to the operator.
    ///
    /// # Errors
    /// If the API server issues no token.
    pub async fn operator_kubeconfig(&self) -> Result<PathBuf> {
        self.kubeconfig_of(NAMESPACE, SERVICE_ACCOUNT).await
    }

    /// Writes a kubeconfig with the permissions of a service account.
    ///
    /// # Errors
    /// If the API server issues no token.
    pub async fn kubeconfig_of(&self, namespace: &str, service_account: &str) -> Result<PathBuf> {
        let token =
            self.kubectl(&["create", "token", service_account, "--namespace", namespace, "--duration=24h"]).await?;
        let kubeconfig = render_kubeconfig(&self.url, &self.certificate_authority, token.trim_end());
        // A new file each time, because another process may be reading the previous one.
        let (mut file, path) = tempfile::NamedTempFile::new_in(self.folder.path())?.keep()?;
        std::io::Write::write_all(&mut file, kubeconfig.as_bytes())?;
        Ok(path)
    }
}

async fn client(kubeconfig: Kubeconfig) -> Result<Client> {
    Ok(Client::try_from(Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?)?)
}

async fn stop(process: &Mutex<Option<Process>>) -> Result<()> {
    match process.lock().await.take() {
        Some(mut process) => process.end(Signal::SIGKILL).await.map(drop),
        None => Ok(()),
    }
}

/// A kubeconfig. JSON is valid YAML.
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

/// Writes a certificate authority, the certificate of the API server, and the key that signs service account tokens.
/// Returns the path of the certificate authority.
fn write_certificates(folder: &Path, address: Ipv4Addr) -> Result<PathBuf> {
    let mut authority = CertificateParams::new(Vec::<String>::new())?;
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate()?)?;
    let mut serving = CertificateParams::new(vec![address.to_string(), "localhost".to_owned()])?;
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
