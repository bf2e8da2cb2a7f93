//! Flux's own controllers as processes. kustomize-controller installs the operator's rights and a peering, waits for
//! the peering, reports a failed one, and prunes. `flux_helm.rs` tests helm-controller.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Error, Result, anyhow, ensure};
use environment::{ControlPlane, Process, eventually, free_port, prepare, repository};
use serde_json::{Value, json};
use tokio::process::Command;

use super::gitops::condition;
use super::world::{Cloud, OTHER_ACCOUNT, World, connection_id};

const LIMIT: Duration = Duration::from_secs(120);
/// Flux's namespace.
pub const NAMESPACE: &str = "flux-system";

/// One of Flux's controllers, and a web server with the artifacts of its sources. There is no source-controller: the
/// test packs the artifacts.
pub struct Flux<'a> {
    control_plane: &'a ControlPlane,
    url: String,
    log: PathBuf,
    _server: Process,
    _controller: Process,
}

impl<'a> Flux<'a> {
    pub async fn start(control_plane: &'a ControlPlane, controller: &str) -> Result<Self> {
        let schemas = prepare("tests/control-plane/build.sh gitops-crds")?;
        control_plane.kubectl(&["apply", "--server-side", "-f", &schemas.to_string_lossy()]).await?;
        control_plane.kubectl(&["wait", "--for=condition=Established", "crd", "--all"]).await?;
        control_plane.kubectl(&["create", "namespace", NAMESPACE]).await?;
        let log = |name: &str| control_plane.folder().join(format!("{name}.log"));
        let artifacts = control_plane.folder().join("artifacts");
        std::fs::create_dir_all(&artifacts)?;
        let port = free_port()?.to_string();
        let folder = artifacts.to_string_lossy();
        let arguments = ["-m", "http.server", "--bind", "127.0.0.1", "--directory", &folder, &port].map(str::to_owned);
        let server = Process::start("python3".as_ref(), &arguments, &[], &log("artifacts")).await?;
        let program = prepare("tests/control-plane/build.sh flux")?.join(controller);
        let arguments = ["--metrics-addr=127.0.0.1:0", "--health-addr=127.0.0.1:0", "--requeue-dependency=1s"];
        let kubeconfig = control_plane.kubeconfig().to_string_lossy();
        let environment = [("KUBECONFIG", &*kubeconfig), ("RUNTIME_NAMESPACE", NAMESPACE)];
        let log = log(controller);
        let controller = Process::start(&program, &arguments.map(str::to_owned), &environment, &log).await?;
        let url = format!("http://127.0.0.1:{port}");
        Ok(Self { control_plane, url, log, _server: server, _controller: controller })
    }

    async fn apply(&self, object: &Value) -> Result<()> {
        let path = self.control_plane.folder().join(format!("flux-{}.json", free_port()?));
        std::fs::write(&path, object.to_string())?;
        self.control_plane.kubectl(&["apply", "--server-side", "-f", &path.to_string_lossy()]).await.map(drop)
    }

    /// Publishes a folder as a GitRepository.
    async fn publish(&self, name: &str, folder: &Path) -> Result<()> {
        self.apply(&json!({
            "apiVersion": "source.toolkit.fluxcd.io/v1",
            "kind": "GitRepository",
            "metadata": {"name": name, "namespace": NAMESPACE},
            "spec": {"interval": "1h", "url": "https://git.example.com/x.git"},
        }))
        .await?;
        self.serve("gitrepository", name, &[Path::new("-C"), folder, Path::new(".")]).await
    }

    /// Packs files with these arguments of `tar`, and writes the URL into the status of a source, as source-controller
    /// does.
    pub async fn serve(&self, kind: &str, name: &str, packed: &[&Path]) -> Result<()> {
        let archive = self.control_plane.folder().join("artifacts").join(format!("{name}.tar.gz"));
        let tar = Command::new("tar").arg("-czf").arg(&archive).args(packed).status().await?;
        ensure!(tar.success(), "tar failed");
        let sum = Command::new("sha256sum").arg(&archive).output().await?;
        let sum = String::from_utf8(sum.stdout)?;
        let digest = format!("sha256:{}", sum.split(' ').next().context("no checksum")?);
        let artifact = json!({
            "url": format!("{}/{name}.tar.gz", self.url),
            "path": format!("{name}.tar.gz"),
            "revision": format!("main@{digest}"),
            "digest": digest,
            "lastUpdateTime": "2026-01-01T00:00:00Z",
        });
        let generation = self.get(NAMESPACE, kind, name).await?["metadata"]["generation"].clone();
        let status = json!({"status": {"artifact": artifact, "observedGeneration": generation}});
        self.patch_status(NAMESPACE, kind, name, &status).await
    }

    pub async fn patch_status(&self, namespace: &str, kind: &str, name: &str, patch: &Value) -> Result<()> {
        let patch = patch.to_string();
        let arguments = ["patch", kind, name, "--namespace", namespace, "--subresource=status"];
        self.control_plane.kubectl(&[&arguments[..], &["--type=merge", "-p", &patch]].concat()).await.map(drop)
    }

    /// Waits until the `Ready` of a Kustomization is True or False; returns it.
    async fn settled(&self, name: &str) -> Result<Value> {
        eventually(name, LIMIT, async || {
            let object = self.get(NAMESPACE, "kustomization", name).await?;
            let ready = ready(&object)?;
            ensure!(ready["status"] != "Unknown" && ready["reason"] != "DependencyNotReady", "{ready}");
            Ok(ready.clone())
        })
        .await
        .map_err(|error| self.with_log(error))
    }

    pub async fn get(&self, namespace: &str, kind: &str, name: &str) -> Result<Value> {
        let arguments = ["get", kind, name, "--namespace", namespace, "-o", "json"];
        Ok(serde_json::from_str(&self.control_plane.kubectl(&arguments).await?)?)
    }

    /// Adds the controller's log to an error, after the reason.
    pub fn with_log(&self, error: Error) -> Error {
        anyhow!("{error:#}\n{}", std::fs::read_to_string(&self.log).unwrap_or_default())
    }
}

pub fn ready(object: &Value) -> Result<&Value> {
    condition(object, "Ready").context("no Ready")
}

/// A Kustomization of the Flux example, with another source.
fn kustomization(file: &str, source: &str) -> Result<Value> {
    let path = repository().join("deploy/flux").join(file);
    let mut object: Value = serde_saphyr::from_str(&std::fs::read_to_string(path)?)?;
    object["spec"]["sourceRef"]["name"] = json!(source);
    object["spec"]["path"] = json!("./");
    object["spec"]["dependsOn"] = json!([{"name": "schemas"}]);
    Ok(object)
}

/// An allow list that is emptied in Git allows nobody in the cluster, or the API server rejects the change.
async fn check_emptied_allow_lists(flux: &Flux<'_>, world: &World, folder: &Path) -> Result<()> {
    let name = "from-git";
    let publish = async |allowed: &Value| -> Result<()> {
        let identity = json!({
            "apiVersion": "vpcpeering.dev/v1alpha1",
            "kind": "AwsIdentity",
            "metadata": {"name": name},
            "spec": {
                "accountId": OTHER_ACCOUNT,
                "roleArn": format!("arn:aws:iam::{OTHER_ACCOUNT}:role/x"),
                "allowedNamespaces": allowed,
            },
        });
        let folder = folder.join("identities");
        std::fs::create_dir_all(&folder)?;
        std::fs::write(folder.join("identity.yaml"), identity.to_string())?;
        flux.publish("identities", &folder).await
    };
    let stored = async || -> Result<Value> {
        let object = flux.get(NAMESPACE, "awsidentity", name).await?;
        Ok(object["spec"]["allowedNamespaces"].clone())
    };
    let open = json!({"list": [world.namespace]});
    publish(&open).await?;
    let mut kustomization = kustomization("peerings.yaml", "identities")?;
    kustomization["metadata"]["name"] = json!("identities");
    kustomization["spec"]["wait"] = json!(false);
    flux.apply(&kustomization).await?;
    for empty in [json!({"list": []}), json!({"list": null}), json!({}), Value::Null] {
        publish(&open).await?;
        eventually("open", LIMIT, async || {
            ensure!(stored().await? == open, "{}", stored().await?);
            Ok(())
        })
        .await
        .map_err(|error| flux.with_log(error))?;
        publish(&empty).await?;
        eventually("emptied or refused", LIMIT, async || {
            let object = flux.get(NAMESPACE, "kustomization", "identities").await?;
            let is_refused = ready(&object)?["status"] == "False";
            let allowed = stored().await?;
            let allows_nobody = allowed.is_null() || allowed == json!({"list": []});
            ensure!(is_refused || allows_nobody, "{empty}: {allowed}");
            Ok(())
        })
        .await?;
    }
    let delete = ["delete", "kustomization", "identities", "--namespace", NAMESPACE, "--timeout=2m"];
    flux.control_plane.kubectl(&delete).await.map(drop)
}

/// This test is long because each step needs the state that the step before it has left.
pub async fn kustomize_controller_installs_waits_and_prunes(world: World) -> Result<()> {
    let world = World::new(world.shared.with_own_control_plane().await?, &world.namespace, Cloud::Simulator).await?;
    let flux = Flux::start(&world.shared.control_plane, "kustomize-controller").await?;
    let (theirs, vpc) = world.another_account().await?;
    let operator = world.operator.start().await?;
    let folder = world.shared.control_plane.folder().join("sources");
    let write = |source: &str, objects: &[Value]| -> Result<PathBuf> {
        let folder = folder.join(source);
        std::fs::create_dir_all(&folder)?;
        for (object, n) in objects.iter().zip(0..) {
            std::fs::write(folder.join(format!("{n}.yaml")), object.to_string())?;
        }
        Ok(folder)
    };
    flux.publish("schemas", &repository().join("crds")).await?;
    flux.publish("own", &write("own", &[world.manifest()])?).await?;
    let foreign = world.with_name("foreign");
    let manifest = foreign.manifest_with(json!({"accepter": {"vpcId": vpc, "ownerId": OTHER_ACCOUNT}}));
    flux.publish("foreign", &write("foreign", &[manifest])?).await?;

    let schemas = json!({
        "apiVersion": "kustomize.toolkit.fluxcd.io/v1",
        "kind": "Kustomization",
        "metadata": {"name": "schemas", "namespace": NAMESPACE},
        "spec": {
            "interval": "1h", "prune": true, "wait": true, "force": false, "path": "./",
            "sourceRef": {"kind": "GitRepository", "name": "schemas"},
        },
    });
    flux.apply(&schemas).await?;
    flux.apply(&kustomization("peerings.yaml", "own")?).await?;
    flux.apply(&kustomization("partners.yaml", "foreign")?).await?;

    // The Kustomization is Ready only when the peering is active.
    let ready = flux.settled("vpc-peerings").await?;
    ensure!(ready["status"] == "True", "{ready}");
    world.until_ready().await?;
    // The expressions of the example accept a request that waits for its owner.
    let ready = flux.settled("vpc-peerings-of-partners").await?;
    ensure!(ready["status"] == "True", "{ready}");
    let object = foreign.until_code("pending-acceptance").await?;
    let id = connection_id(&object).context("no ID")?.to_owned();

    // A rejected request fails the Kustomization, long before the timeout of five minutes.
    theirs.reject_vpc_peering_connection().vpc_peering_connection_id(&id).send().await?;
    foreign.until_stalled("Rejected").await?;
    let start = Instant::now();
    let requested = ["annotate", "kustomization", "vpc-peerings-of-partners", "--namespace", NAMESPACE];
    let now = "reconcile.fluxcd.io/requestedAt=now";
    world.shared.control_plane.kubectl(&[&requested[..], &[now]].concat()).await?;
    eventually("HealthCheckFailed", LIMIT, async || {
        let ready = flux.settled("vpc-peerings-of-partners").await?;
        ensure!(ready["status"] == "False" && ready["reason"] == "HealthCheckFailed", "{ready}");
        Ok(())
    })
    .await?;
    ensure!(start.elapsed() < Duration::from_secs(60), "reported only after {:?}", start.elapsed());

    check_emptied_allow_lists(&flux, &world, &folder).await?;

    // Peerings are deleted before the operator's rights and CRDs.
    for name in ["vpc-peerings", "vpc-peerings-of-partners", "schemas"] {
        world
            .shared
            .control_plane
            .kubectl(&["delete", "kustomization", name, "--namespace", NAMESPACE, "--timeout=2m"])
            .await?;
        if name == "vpc-peerings" {
            ensure!(
                world.api().get_opt(&world.name).await?.is_none(),
                "the Kustomization did not wait for its peering"
            );
        }
    }
    ensure!(world.live_peerings().await?.is_empty(), "a peering is left");
    eventually("no CRD", LIMIT, async || {
        let crd = world.shared.control_plane.kubectl(&["get", "crd", "vpcpeerings.vpcpeering.dev"]).await;
        ensure!(crd.is_err_and(|error| error.to_string().contains("NotFound")));
        Ok(())
    })
    .await?;
    operator.terminate().await?;
    Ok(())
}
