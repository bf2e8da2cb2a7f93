//! A user's terminal: a shell in an empty folder, the programs on its path, and the cluster.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Error, Result, anyhow, ensure};
use ec2_simulator::Client as Simulator;
use ec2_simulator::world::identity::Role;
use environment::{prepare, repository};
use serde_json::{Value, json};
use tokio::process::Command;

use super::node::Node;
use super::rules;
use crate::Shared;
use crate::iam::Policies;
use crate::world::{OTHER_ACCOUNT, REGION, SECRET, World};

/// A command may take this long. The slowest one waits for the operator.
const LIMIT: Duration = Duration::from_secs(150);

/// The programs of `tests/python/programs.py`.
const PROGRAMS: [&str; 11] = [
    "aws",
    "cosign",
    "curl",
    "docker",
    "eksctl",
    "helm",
    "kubectl",
    "kubectl-krew",
    "make",
    "setup-envtest",
    "terraform",
];

/// Files of the repository that commands name.
const FILES: [&str; 4] = ["charts", "crds", "deploy", "Dockerfile"];

/// The role that the README names.
const ROLE: &str = "arn:aws:iam::222222222222:role/vpc-peering/operator";

pub struct Session<'a> {
    shared: Arc<Shared>,
    pub simulator: &'a Simulator,
    /// The operator's access key.
    pub key: String,
    folder: PathBuf,
    environment: Vec<(&'static str, String)>,
    /// Whether a ping was answered.
    pub pinged: AtomicBool,
}

impl<'a> Session<'a> {
    /// Starts an empty control plane, and fills the simulator with the resources that the documentation names.
    pub async fn start(world: &'a World) -> Result<Self> {
        let shared = world.shared.with_empty_control_plane().await?;
        let control_plane = &shared.control_plane;
        // No controller creates the default service account.
        control_plane.kubectl(&["create", "serviceaccount", "default", "--namespace", "default"]).await?;
        control_plane.kubectl(&["create", "namespace", "argocd"]).await?;
        let simulator = world.simulator();
        simulator.add(&serde_json::from_value(super::scene())?).await?;
        let key = simulator.create_key("111111111111").await?.access_key_id;
        let role = Role { arn: ROLE.into(), trusted: vec!["111111111111".into()], external_id: None };
        simulator.put_role(&role).await?;
        let policies = Policies::new(&control_plane.admin().await?, "docs").await?;
        policies.bind_role(simulator, ROLE, OTHER_ACCOUNT).await?;

        let folder = control_plane.folder().join("user");
        std::fs::create_dir_all(folder.join("manifests"))?;
        let programs = programs(world, control_plane.folder())?;
        let helm = prepare("tests/control-plane/build.sh helm")?.join("helm");
        let kubectl = control_plane.kubectl_path();
        let assets = kubectl.parent().context("no folder")?.to_string_lossy().into_owned();
        let text = |path: &Path| path.to_string_lossy().into_owned();
        let environment = vec![
            ("HOME", text(&folder)),
            ("PATH", format!("{}:/usr/bin:/bin", programs.display())),
            ("KUBECONFIG", text(control_plane.kubeconfig())),
            ("AWS_ENDPOINT_URL", world.endpoint.clone()),
            ("AWS_ACCESS_KEY_ID", "test".into()),
            ("AWS_SECRET_ACCESS_KEY", "test".into()),
            // For the programs alone.
            ("OPERATOR", text(&world.operator.program)),
            ("OPERATOR_KEY", key.clone()),
            ("HELM", text(&helm)),
            ("KUBECTL", text(&kubectl)),
            ("ASSETS", assets),
        ];
        Ok(Self { shared, simulator, key, folder, environment, pinged: AtomicBool::new(false) })
    }

    pub async fn node(&self, world: &World) -> Result<Node> {
        let credentials = vec![
            ("AWS_ENDPOINT_URL", world.endpoint.clone()),
            ("AWS_REGION", REGION.into()),
            ("AWS_ACCESS_KEY_ID", self.key.clone()),
            ("AWS_SECRET_ACCESS_KEY", SECRET.into()),
        ];
        Ok(Node {
            shared: Arc::clone(&self.shared),
            client: self.shared.control_plane.admin().await?,
            simulator: self.simulator.clone(),
            program: world.operator.program.clone(),
            credentials,
        })
    }

    /// Runs a script. Variables that it sets are kept, as in a terminal.
    pub async fn run(&self, page: &str, script: &str) -> Result<()> {
        let is_variation = page != "README.md";
        if is_variation {
            self.put_files()?;
        }
        let saved = "[ ! -e .saved ] || . ./.saved\nset -ae";
        let all = format!("{saved}\n{script}\nexport -p > .saved\n");
        let mut command = Command::new("/bin/sh");
        // The saved variables are those of the last script.
        command.args(["-c", &all]).current_dir(&self.folder).env_clear();
        command.envs(self.environment.iter().map(|(name, value)| (*name, value.as_str())));
        if is_variation {
            command.env("VARIATION", "yes").env("AWS_REGION", REGION).env("CLUSTER", "my-cluster");
        }
        let output = command.stdin(Stdio::null()).kill_on_drop(true).output();
        let output = tokio::time::timeout(LIMIT, output).await.with_context(|| format!("{script}: no end"))??;
        let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        let allowed = rules::EXIT_CODES.iter().find(|(start, _)| script.starts_with(start));
        let allowed = allowed.map_or(&[0][..], |(_, codes)| codes);
        let code = output.status.code().context("ended by a signal")?;
        ensure!(allowed.contains(&code), "{script}\nended with the exit code {code}:\n{text}");
        let is_ping = script.contains("kubectl wait pod/ping") && text.contains("pod/ping condition met");
        self.pinged.fetch_or(is_ping, Ordering::Relaxed);
        Ok(())
    }

    /// The files that the commands of a page name: a checkout, and manifests and values of the user.
    fn put_files(&self) -> Result<()> {
        for name in FILES {
            let link = self.folder.join(name);
            if !link.exists() {
                symlink(repository().join(name), link)?;
            }
        }
        let manifest = manifest(&json!({}));
        for name in ["peering.yaml", "manifests/peering.yaml"] {
            std::fs::write(self.folder.join(name), manifest.to_string())?;
        }
        let state = repository().join("tests/e2e/fixtures/import/terraform.json");
        std::fs::copy(state, self.folder.join("state.json"))?;
        std::fs::write(self.folder.join("values.yaml"), "{}")?;
        Ok(())
    }

    /// Applies a manifest. A `VpcPeering` of the README must become ready.
    pub async fn apply(&self, page: &str, manifest: &Value) -> Result<()> {
        let kubectl = &self.shared.control_plane;
        let file = self.folder.join("manifest.json");
        let mut manifest = manifest.clone();
        if page != "README.md" {
            // Another page may have an object of this name, with other VPCs.
            let name = manifest["metadata"]["name"].as_str().context("no name")?;
            manifest["metadata"]["name"] = json!(format!("{name}-of-a-page"));
        }
        std::fs::write(&file, manifest.to_string())?;
        let file = file.to_string_lossy().into_owned();
        let apply = ["apply", "--server-side", "--validate=strict", "--force-conflicts", "-f", &file];
        if page != "README.md" {
            return kubectl.kubectl(&[&apply[..], &["--dry-run=server"]].concat()).await.map(drop);
        }
        if manifest["kind"] == "AwsIdentity" {
            let policies = Policies::new(&kubectl.admin().await?, "docs").await?;
            policies.bind_hub(self.simulator, &self.key).await?;
        }
        kubectl.kubectl(&apply).await?;
        if manifest["kind"] == "VpcPeering" {
            let name = manifest["metadata"]["name"].as_str().context("no name")?;
            let resource = format!("vpcpeering/{name}");
            let wait = ["wait", &resource, "--for=condition=Ready", "--timeout=60s"];
            if let Err(error) = kubectl.kubectl(&wait).await {
                let shown = kubectl.kubectl(&["get", &resource, "-o", "yaml"]).await?;
                return Err(error.context(shown));
            }
        }
        Ok(())
    }

    /// Applies the part of a spec to a resource of the one kind that has its fields.
    pub async fn apply_part(&self, part: &Value) -> Result<()> {
        let accepter = json!({
            "apiVersion": "vpcpeering.dev/v1alpha1",
            "kind": "VpcPeeringAccepter",
            "metadata": {"name": "part", "namespace": "default"},
            "spec": {"vpcId": "vpc-0f9e8d7c6b5a43210", "region": REGION},
        });
        let identity = json!({
            "apiVersion": "vpcpeering.dev/v1alpha1",
            "kind": "AwsIdentity",
            "metadata": {"name": "part"},
            "spec": {"accountId": OTHER_ACCOUNT, "roleArn": ROLE},
        });
        let mut errors = Vec::new();
        for mut whole in [manifest(&json!({})), accepter, identity] {
            merge(&mut whole["spec"], &part["spec"]);
            match self.apply("", &whole).await {
                Ok(()) => return Ok(()),
                Err(error) => errors.push(format!("{}: {error:#}", whole["kind"])),
            }
        }
        Err(anyhow!("no kind has these fields: {}", errors.join("\n")))
    }

    /// Renders the chart with these values. Its schema rejects values that it does not have.
    pub async fn render(&self, values: &Value) -> Result<()> {
        std::fs::write(self.folder.join("rendered.yaml"), values.to_string())?;
        self.put_files()?;
        let render =
            "helm template operator charts/vpc-peering-operator --values rendered.yaml --set image.repository=x";
        self.run("", render).await
    }

    pub fn with_log(&self, error: Error) -> Error {
        let log = self.shared.control_plane.folder().join("documented-operator.log");
        let log = std::fs::read_to_string(log).unwrap_or_default();
        let lines: Vec<_> = log.lines().collect();
        let end = lines[lines.len().saturating_sub(15)..].join("\n");
        anyhow!("{error:#}\nthe end of the operator's log:\n{end}")
    }
}

/// A `VpcPeering` of the documented VPCs that differs from the one of the README.
fn manifest(spec: &Value) -> Value {
    let mut manifest = json!({
        "apiVersion": "vpcpeering.dev/v1alpha1",
        "kind": "VpcPeering",
        "metadata": {"name": "part", "namespace": "default"},
        "spec": {
            "requester": {"vpcId": "vpc-0a1b2c3d4e5f67890", "region": REGION},
            "accepter": {"vpcId": "vpc-0f9e8d7c6b5a43210"},
        },
    });
    merge(&mut manifest["spec"], spec);
    manifest
}

fn merge(into: &mut Value, from: &Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            from.iter().for_each(|(key, value)| merge(into.entry(key.clone()).or_insert(Value::Null), value));
        }
        (into, from) => *into = from.clone(),
    }
}

/// A folder with the programs of the documentation.
fn programs(world: &World, folder: &Path) -> Result<PathBuf> {
    let python = prepare("tests/python/venv.sh")?.join("bin/python");
    let program = repository().join("tests/python/programs.py");
    let programs = folder.join("user-bin");
    std::fs::create_dir_all(&programs)?;
    for name in PROGRAMS {
        let path = programs.join(name);
        std::fs::write(&path, format!("#!/bin/sh\nexec {} {} {name} \"$@\"\n", python.display(), program.display()))?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755))?;
    }
    for name in ["vpc-peering-operator", "kubectl-pcx"] {
        symlink(&world.operator.program, programs.join(name))?;
    }
    Ok(programs)
}
