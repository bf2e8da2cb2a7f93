//! `import`: manifests from AWS, Terraform, ACK and Crossplane, which the operator adopts without a changing call.

pub mod bad_input;
pub mod migrate;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use ec2_simulator::Scene;
use ec2_simulator::journal::Query;
use environment::{Operator, RunningOperator, eventually, repository};
use k8s_openapi::api::core::v1::Namespace;
use kube::Api;
use kube::api::{ApiResource, DynamicObject, GroupVersionKind, ObjectMeta, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use vpc_peering_operator::api::{ManagementPolicy, VpcPeering};

use super::{Finished, run};
use crate::world::{Cloud, OTHER_ACCOUNT, OTHER_REGION, REGION, World, condition};

const LIMIT: Duration = Duration::from_secs(60);

/// The name by which `iam` attaches the temporary grant for adoption.
const TEST: &str = "cli::import::migration";

/// The namespace and the identity that docs/migrate.md names.
const NAMESPACE: &str = "network";
const IDENTITY: &str = "payments";

fn fixture(name: &str) -> PathBuf {
    repository().join("tests/e2e/fixtures/import").join(name)
}

/// Three connections of other tools in a control plane and an EC2 of their own, and a running operator.
struct Migration {
    world: World,
    /// The environment of `import`.
    operator: Operator,
    running: RunningOperator,
}

impl Migration {
    async fn start(world: World) -> Result<Self> {
        let shared = world.shared.with_own_control_plane().await?;
        let mut world = World::new(shared, TEST, Cloud::Simulator).await?;
        world.namespace = NAMESPACE.to_owned();
        let metadata = ObjectMeta { name: Some(NAMESPACE.to_owned()), ..ObjectMeta::default() };
        let namespace = Namespace { metadata, ..Namespace::default() };
        Api::all(world.client.clone()).create(&PostParams::default(), &namespace).await?;
        let allowed = json!({"allowedNamespaces": {"list": [NAMESPACE]}, "defaultRegion": OTHER_REGION});
        world.apply_identity_named(IDENTITY, OTHER_ACCOUNT, allowed).await?;
        let mut scene = serde_json::to_value(world.simulator().save().await?)?;
        let added: Value = serde_json::from_str(&std::fs::read_to_string(fixture("scene.json"))?)?;
        for (key, items) in added.as_object().context("no scene")? {
            let all = scene[key].as_array_mut().context("no list")?;
            all.extend(items.as_array().into_iter().flatten().cloned());
        }
        world.simulator().load(&serde_json::from_value::<Scene>(scene)?).await?;
        let operator = world.operator.clone();
        let operator = operator.with("WATCH_NAMESPACE", NAMESPACE).with("OWN_CREDENTIALS_NAMESPACES", NAMESPACE);
        let running = operator.start().await?;
        let kubeconfig = world.shared.control_plane.kubeconfig().to_string_lossy().into_owned();
        let operator = operator.with("KUBECONFIG", &kubeconfig).with("AWS_REGION", REGION);
        world.clear_journal().await?;
        Ok(Self { world, operator, running })
    }

    async fn import(&self, arguments: &[&str]) -> Result<Finished> {
        run(&self.operator, &[&["import", "-n", NAMESPACE], arguments].concat()).await
    }

    /// Installs CRDs, and creates the objects of a file with their status.
    async fn create(&self, crds: &str, objects: &str) -> Result<()> {
        let kubectl = &self.world.shared.control_plane;
        kubectl.kubectl(&["apply", "--server-side", "-f", &fixture(crds).to_string_lossy()]).await?;
        kubectl.kubectl(&["wait", "--for=condition=Established", "crd", "--all", "--timeout=30s"]).await?;
        let text = std::fs::read_to_string(fixture(objects))?;
        for document in text.split("---\n") {
            let object: DynamicObject = serde_saphyr::from_str(document)?;
            let types = object.types.clone().context("no types")?;
            let (group, version) = types.api_version.split_once('/').context("no group")?;
            let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, &types.kind));
            let resource = if types.kind.ends_with("Options") {
                ApiResource { plural: types.kind.to_lowercase(), ..resource }
            } else {
                resource
            };
            let api: Api<DynamicObject> = match &object.metadata.namespace {
                Some(namespace) => Api::namespaced_with(self.world.client.clone(), namespace, &resource),
                None => Api::all_with(self.world.client.clone(), &resource),
            };
            let name = object.metadata.name.clone().context("no name")?;
            let apply = PatchParams::apply("other-controller").force();
            eventually("served", LIMIT, async || Ok(api.patch(&name, &apply, &Patch::Apply(&object)).await?)).await?;
            let status = json!({"status": object.data["status"]});
            api.patch_status(&name, &PatchParams::default(), &Patch::Merge(status)).await?;
        }
        Ok(())
    }

    /// Waits until the operator has settled all resources, whose management policy this is.
    async fn until_settled(&self, count: usize, policy: ManagementPolicy) -> Result<()> {
        let api = Api::<VpcPeering>::namespaced(self.world.client.clone(), NAMESPACE);
        let settled = eventually("settled", LIMIT, async || {
            let objects = api.list(&kube::api::ListParams::default()).await?.items;
            ensure!(objects.len() == count, "{} resources", objects.len());
            for object in &objects {
                let observed = object.status.as_ref().and_then(|status| status.observed_generation);
                ensure!(object.spec.management_policy == policy && observed == object.metadata.generation);
                let is_true = |name| condition(object, name).is_some_and(|it| it.status == "True");
                let full = policy == ManagementPolicy::Full;
                let are_good = is_true("Ready") && (!full || is_true("RoutesReady"));
                ensure!(are_good, "{}", serde_json::to_string_pretty(&object.status)?);
            }
            Ok(())
        });
        settled.await.map_err(|error| self.world.with_log(error))?;
        // A later poll must change nothing either.
        tokio::time::sleep(Duration::from_millis(1500)).await;
        Ok(())
    }

    /// The changing calls in the journal of EC2: the action, and the keys of tags.
    async fn changes(&self) -> Result<BTreeSet<(String, Vec<String>)>> {
        let entries = self.world.simulator().journal(&Query::default()).await?.entries;
        let reads = ["Describe", "Get", "AssumeRole"];
        let changes = entries.into_iter().filter(|entry| !reads.iter().any(|read| entry.action.starts_with(read)));
        let keys = |parameters: &std::collections::BTreeMap<String, String>| {
            let is_key = |name: &&String| name.starts_with("Tag.") && name.ends_with(".Key");
            let keys = parameters.iter().filter(|(name, _)| is_key(name));
            keys.map(|(_, key)| key.clone()).collect()
        };
        Ok(changes.map(|entry| (entry.action, keys(&entry.parameters))).collect())
    }

    /// Fails unless the operator has added ownership tags, and changed nothing else.
    async fn ensure_only_ownership_tags(&self) -> Result<()> {
        let changes = self.changes().await?;
        let is_ownership =
            |keys: &[String]| !keys.is_empty() && keys.iter().all(|key| key.starts_with("vpcpeering.dev/"));
        ensure!(!changes.is_empty(), "no ownership tags");
        for (action, keys) in changes {
            ensure!(action == "CreateTags" && is_ownership(&keys), "{action} {keys:?}\n{}", self.world.log());
        }
        Ok(())
    }

    /// Deletes all resources. Their connections stay, without ownership tags.
    async fn release(&self) -> Result<()> {
        let kubectl = &self.world.shared.control_plane;
        kubectl.kubectl(&["delete", "vpcpeerings", "--all", "-n", NAMESPACE, "--timeout=60s"]).await?;
        self.world.clear_journal().await
    }

    /// Applies manifests, and returns the output of kubectl.
    async fn apply(&self, manifests: &str) -> Result<String> {
        let file = self.world.shared.control_plane.folder().join("import.yaml");
        std::fs::write(&file, manifests)?;
        self.world.shared.control_plane.kubectl(&["apply", "-f", &file.to_string_lossy()]).await
    }

    async fn stop(self) -> Result<()> {
        self.running.kill().await
    }
}

/// Compares an output with its file, or writes the file if `UPDATE_TESTDATA` is set.
fn ensure_snapshot(name: &str, finished: &Finished) -> Result<()> {
    let text = format!("{}# standard error:\n{}", finished.stdout, finished.stderr);
    let file = fixture("expected").join(name);
    if std::env::var_os("UPDATE_TESTDATA").is_some() {
        std::fs::create_dir_all(file.parent().context("no folder")?)?;
        std::fs::write(&file, &text)?;
    }
    let expected = std::fs::read_to_string(&file).with_context(|| file.display().to_string())?;
    ensure!(text == expected, "{}: expected\n{expected}\nbut is\n{text}", file.display());
    Ok(())
}

/// Imports from one source with Observe and then with Full, and applies the manifests.
async fn adopt(migration: &Migration, name: &str, arguments: &[&str], count: usize) -> Result<()> {
    let import = async |policy: &str| {
        let finished = migration.import(&[arguments, &[policy]].concat()).await?;
        ensure!(finished.code == 0, "{finished:?}");
        Ok(finished)
    };
    let observe = import("--observe").await?;
    ensure_snapshot(&format!("{name}-observe.txt"), &observe)?;
    let applied = migration.apply(&observe.stdout).await?;
    ensure!(applied.matches("created").count() == count, "{applied}");
    migration.until_settled(count, ManagementPolicy::Observe).await?;
    ensure!(migration.changes().await?.is_empty(), "{:?}", migration.changes().await?);

    let full = import("--full").await?;
    ensure_snapshot(&format!("{name}-full.txt"), &full)?;
    ensure!(full.stdout.replace("managementPolicy: Full", "managementPolicy: Observe") == observe.stdout);
    migration.apply(&full.stdout).await?;
    migration.until_settled(count, ManagementPolicy::Full).await?;
    migration.ensure_only_ownership_tags().await?;

    // The second run changes nothing.
    migration.world.clear_journal().await?;
    let again = import("--full").await?;
    if name == "aws" {
        ensure!(again.stdout.is_empty() && again.stderr.contains("as its owner"), "{again:?}");
    } else {
        ensure!(again.stdout == full.stdout, "{again:?}");
        let applied = migration.apply(&again.stdout).await?;
        ensure!(applied.matches("unchanged").count() == count, "{applied}");
    }
    migration.until_settled(count, ManagementPolicy::Full).await?;
    ensure!(migration.changes().await?.is_empty(), "{:?}", migration.changes().await?);
    migration.release().await
}

pub async fn each_source_is_adopted_without_a_changing_call(world: World) -> Result<()> {
    let migration = Migration::start(world).await?;
    let regions = ["--region", REGION, "--region", OTHER_REGION];
    let accounts = ["--identity", IDENTITY, "--own-credentials"];
    adopt(&migration, "aws", &[&regions[..], &accounts].concat(), 3).await.context("aws")?;
    let state = fixture("terraform.json").to_string_lossy().into_owned();
    let account = format!("{OTHER_ACCOUNT}={IDENTITY}");
    let known = ["--account-identity", &account];
    adopt(&migration, "terraform", &[&["--terraform", &state], &known[..]].concat(), 3).await.context("terraform")?;
    for (name, count) in [("ack", 2), ("crossplane", 2)] {
        migration.create(&format!("{name}-crds.yaml"), &format!("{name}.yaml")).await?;
        adopt(&migration, name, &[&[&*format!("--{name}")], &known[..]].concat(), count).await.context(name)?;
        // The objects in a file yield the same as those in the cluster.
        let file = fixture(&format!("{name}.yaml")).to_string_lossy().into_owned();
        let from_file = migration.import(&[&[&*file], &known[..]].concat()).await?;
        ensure_snapshot(&format!("{name}-observe.txt"), &from_file)?;
    }
    completion(&migration).await?;
    selection(&migration).await?;
    migration.stop().await
}

/// AWS adds what ACK does not show, and no other connection. ACK manages the connections of one account only.
async fn completion(migration: &Migration) -> Result<()> {
    let completed = migration.import(&["--ack", "--region", OTHER_REGION, "--identity", IDENTITY]).await?;
    ensure_snapshot("ack-and-aws-observe.txt", &completed)?;
    // One region, and the account of an accepter alone.
    let one_region = migration.import(&["--region", REGION]).await?;
    ensure_snapshot("aws-one-region-observe.txt", &one_region)?;
    let accepter = migration.import(&["--identity", IDENTITY]).await?;
    ensure_snapshot("aws-accepter-observe.txt", &accepter)?;
    let own = migration.import(&["--ack"]).await?;
    ensure_snapshot("ack-one-account-observe.txt", &own)?;
    let folder = migration.world.shared.control_plane.folder().join("released");
    let written = migration.import(&["--crossplane", "--directory", &folder.to_string_lossy()]).await?;
    ensure!(written.stdout.contains("release.sh written") && !written.stderr.contains("kubectl"), "{written:?}");
    Ok(())
}

/// `--vpc` and `--tag`, and a directory.
async fn selection(migration: &Migration) -> Result<()> {
    for (arguments, names) in [
        (&["--vpc", "vpc-0e8d7c6b5a4321098"][..], &["orders-to-reports"][..]),
        (&["--tag", "team=orders"], &["orders-to-payments", "orders-to-reports"]),
        (&["--tag", "team=orders", "--vpc", "vpc-0f9e8d7c6b5a43210"], &["orders-to-payments"]),
        (&["--tag", "team=nobody"], &[]),
    ] {
        let selected = migration.import(&[&["--region", REGION], arguments].concat()).await?;
        let found = selected.stdout.lines().filter_map(|line| line.strip_prefix("  name: ")).collect::<Vec<_>>();
        ensure!(selected.code == 0 && found == names, "{arguments:?}: {selected:?}");
        ensure!(selected.stderr.contains("no connection to import") == names.is_empty(), "{selected:?}");
    }
    let folder = migration.world.shared.control_plane.folder().join("imported");
    let (path, state) = (folder.to_string_lossy().into_owned(), fixture("terraform.json"));
    let arguments = ["--terraform", &state.to_string_lossy(), "--directory", &path];
    let written = migration.import(&arguments).await?;
    ensure!(written.code == 0 && written.stdout.lines().count() == 4, "{written:?}");
    ensure!(written.stdout.lines().all(|line| line.ends_with(" written")), "{written:?}");
    let removed = std::fs::read_to_string(folder.join("removed.tf"))?;
    ensure!(removed.contains("from = aws_vpc_peering_connection.reports\n"), "{removed}");
    let again = migration.import(&arguments).await?;
    ensure!(again.stdout.lines().all(|line| line.ends_with(" unchanged")), "{again:?}");
    ensure!(files(&folder)?.len() == 4 && migration.changes().await?.is_empty());
    as_json(migration, &state).await
}

/// The same resources in both formats.
async fn as_json(migration: &Migration, state: &Path) -> Result<()> {
    let state = state.to_string_lossy();
    let yaml = migration.import(&["--terraform", &state]).await?;
    let yaml: Vec<Value> = serde_saphyr::from_multiple(&yaml.stdout)?;
    let json = migration.import(&["--terraform", &state, "--output", "json"]).await?;
    let list: Value = serde_json::from_str(&json.stdout)?;
    ensure!(list["kind"] == "List" && list["items"] == json!(yaml), "{list} instead of {yaml:?}");
    Ok(())
}

/// The names of the files in a folder. An absent folder has none.
fn files(folder: &Path) -> Result<BTreeSet<String>> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Ok(BTreeSet::new()) };
    entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
}
