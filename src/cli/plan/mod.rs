//! `vpc-peering-operator plan`: the steps that the operator would take, without taking them.

mod report;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Args;
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt};

use self::report::Report;
use super::Outcome;
use super::graph::Unobserved;
use super::kubernetes::{self, KubeArgs};
use super::manifests;
use super::output::{OutputArgs, Progress};
use super::run::{cluster_id, own_namespaces, own_regions};
use crate::api::{AllowedRegions, AwsIdentity, VpcPeering, VpcPeeringAccepter};
use crate::aws::{Accounts, SessionTags, configuration};
use crate::controller::{self, Cluster, OwnCredentials, OwnNamespaces};
use crate::peering;

/// The UID in the ownership tags of an object that is not in the cluster. The API server chooses the real one.
const NEW_UID: &str = "(new)";

/// The command ends long before the second poll.
const POLL_INTERVAL: Duration = Duration::from_secs(3600);

const EXIT_CODES: &str = "Exit codes:
  0  no change
  1  the command failed, or a person has to act before a resource can become what its spec asks for
  2  changes, or the command line is not valid";

/// Prints every step that the operator would take, with the EC2 calls at both ends, and takes none.
///
/// The plan uses the decisions of the operator. It reads the cluster and AWS with the same identities, and asks EC2 by
/// a dry run for the permission to request a connection. A manifest that is in the cluster is planned as an update.
/// Without arguments, the resources of the cluster are planned. Pass the flags that the operator has.
#[derive(Debug, Args)]
#[command(after_help = EXIT_CODES)]
pub(crate) struct Show {
    /// Manifests of VpcPeerings and AwsIdentities; - reads standard input. NAMESPACE/NAME is a resource of the cluster.
    #[arg(value_name = "FILE|NAMESPACE/NAME")]
    targets: Vec<PathBuf>,

    /// See `run`.
    #[arg(long, env = "OWN_CREDENTIALS_NAMESPACES", default_value = "none", value_parser = own_namespaces)]
    own_credentials_namespaces: OwnNamespaces,

    /// See `run`.
    #[arg(long, env = "OWN_CREDENTIALS_REGIONS", default_value = "*", value_parser = own_regions)]
    own_credentials_regions: AllowedRegions,

    /// See `run`.
    #[arg(long, env = "OWN_CREDENTIALS_ALLOW_ADOPTION")]
    own_credentials_allow_adoption: bool,

    /// See `run`.
    #[arg(long, env = "DISABLE_SESSION_TAGS")]
    disable_session_tags: bool,

    /// See `run`.
    #[arg(long, env = "CLUSTER_ID", value_parser = cluster_id)]
    cluster_id: Option<String>,

    #[command(flatten)]
    output: OutputArgs,

    #[command(flatten)]
    kube: KubeArgs,
}

/// The objects to plan.
struct Selected {
    cluster: Cluster,
    peerings: Vec<VpcPeering>,
    not_planned: Vec<String>,
}

impl Show {
    pub(super) fn execute(self) -> anyhow::Result<Outcome> {
        let output = self.output;
        let report = super::block_on(self.report())??;
        output.print(&report)?;
        Ok(match (report.needs_a_person(), report.has_changes()) {
            (true, _) => Outcome::Failure,
            (false, true) => Outcome::Changes,
            (false, false) => Outcome::Success,
        })
    }

    async fn report(self) -> anyhow::Result<Report> {
        let progress = Progress::start();
        progress.show("reading the cluster…");
        let client = self.kube.connect().await?;
        let Selected { cluster, peerings, not_planned } = self.select(&client).await?;
        let config = configuration::from_environment().await.context(
            "the own AWS region is unknown; set the environment variable AWS_REGION, or `region` in the AWS profile",
        )?;
        let own = OwnCredentials {
            namespaces: self.own_credentials_namespaces,
            regions: self.own_credentials_regions,
            adoption: self.own_credentials_allow_adoption,
        };
        let settings = peering::Settings {
            consistency_window: Duration::from_secs(60),
            recreation_pause: Duration::from_secs(60),
            is_cluster_unique: self.cluster_id.is_none(),
        };
        let id = match self.cluster_id {
            Some(id) => id,
            None => kubernetes::cluster_id(&client).await.context(
                "cannot read the UID of the namespace kube-system, which is the cluster ID; set --cluster-id",
            )?,
        };
        let tags = SessionTags::from_flag(self.disable_session_tags);
        let (interceptor, on_change) = (Arc::new(Unobserved), Arc::new(|_| {}));
        let accounts = Accounts::start(config, interceptor, tags, id.clone().into(), POLL_INTERVAL, on_change);
        let context = cluster.context(client, accounts, own, id.into(), settings);
        let mut planned = Vec::new();
        for peering in peerings {
            progress.show(&format!("planning {}…", peering.name_any()));
            let plan = controller::plan(&peering, &context).await;
            planned.push((peering, plan));
        }
        Ok(Report::new(&planned, not_planned))
    }

    async fn select(&self, client: &Client) -> anyhow::Result<Selected> {
        let all = ListParams::default();
        let api = Api::<Namespace>::all(client.clone());
        let namespaces = api.list_metadata(&all).await.context("cannot list the namespaces")?.items;
        let api = Api::<AwsIdentity>::all(client.clone());
        let mut identities = api.list(&all).await.context("cannot list the AwsIdentities")?.items;
        let api = Api::<VpcPeering>::all(client.clone());
        let mut peerings = api.list(&all).await.context("cannot list the VpcPeerings")?.items;
        let (names, files): (Vec<_>, Vec<_>) = self.targets.iter().cloned().partition(|target| is_name(target));
        let objects = manifests::read(&files)?;
        let accepters = manifests::of_kind::<VpcPeeringAccepter>(&objects, "VpcPeeringAccepter")?;
        let not_planned = accepters.iter().map(|accepter| format!("VpcPeeringAccepter {}", accepter.name_any()));
        for identity in manifests::of_kind::<AwsIdentity>(&objects, "AwsIdentity")? {
            identities.retain(|other| other.name_any() != identity.name_any());
            identities.push(identity);
        }
        let mut selected: Vec<VpcPeering> = Vec::new();
        for name in &names {
            let name = name.to_string_lossy();
            let is_it = |peering: &&VpcPeering| key(peering) == name;
            let Some(peering) = peerings.iter().find(is_it) else { bail!("there is no VpcPeering {name}") };
            selected.push(peering.clone());
        }
        for mut manifest in manifests::of_kind::<VpcPeering>(&objects, "VpcPeering")? {
            let namespace = manifest.namespace().unwrap_or_else(|| client.default_namespace().to_owned());
            manifest.metadata.namespace = Some(namespace);
            let known = peerings.iter().find(|known| key(known) == key(&manifest));
            let updated = update(known, manifest);
            peerings.retain(|known| key(known) != key(&updated));
            peerings.push(updated.clone());
            selected.push(updated);
        }
        if self.targets.is_empty() {
            let wanted = self.kube.namespace.as_deref();
            let is_selected =
                |peering: &&VpcPeering| wanted.is_none_or(|name| peering.namespace().as_deref() == Some(name));
            selected = peerings.iter().filter(is_selected).cloned().collect();
        }
        let not_planned = not_planned.collect();
        Ok(Selected { cluster: Cluster { peerings, identities, namespaces }, peerings: selected, not_planned })
    }
}

/// Whether a target is the name of a resource, and not a file.
fn is_name(target: &Path) -> bool {
    let text = target.to_string_lossy();
    let is_word = |part: &str| !part.is_empty() && part != "." && part != "..";
    !target.exists() && text.split('/').count() == 2 && text.split('/').all(is_word) && target.extension().is_none()
}

fn key(peering: &VpcPeering) -> String {
    format!("{}/{}", peering.namespace().unwrap_or_default(), peering.name_any())
}

/// The object that the API server has after the manifest is applied.
fn update(known: Option<&VpcPeering>, manifest: VpcPeering) -> VpcPeering {
    let Some(known) = known else {
        let mut new = VpcPeering { status: None, ..manifest };
        new.metadata.uid = Some(NEW_UID.to_owned());
        new.metadata.generation = Some(1);
        new.metadata.creation_timestamp = Some(Time(Timestamp::now()));
        new.metadata.finalizers = None;
        new.metadata.deletion_timestamp = None;
        return new;
    };
    let mut updated = known.clone();
    updated.annotations_mut().extend(manifest.metadata.annotations.unwrap_or_default());
    if updated.spec != manifest.spec {
        updated.spec = manifest.spec;
        updated.metadata.generation = known.metadata.generation.map(|generation| generation + 1);
    }
    updated
}
