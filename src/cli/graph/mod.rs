//! `vpc-peering-operator graph`: draws the peerings of a cluster, of manifests, or of an AWS account.

mod aws;
mod dot;
mod html;
mod layout;
mod mermaid;
mod model;
mod resources;
mod svg;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::{Args, ValueEnum};
use k8s_openapi::NamespaceResourceScope;
use kube::api::ListParams;
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;

use self::model::Graph;
use super::Outcome;
use super::kubernetes::KubeArgs;
use super::manifests;
use super::output::{self, Progress};
use crate::api::{AwsIdentity, VpcPeering, VpcPeeringAccepter};
use crate::aws::{Accounts, Principal, SessionTags, Unobserved, configuration};
use crate::controller::role;
use crate::operator::cluster_uid;

/// Draws the VPC peerings of the cluster, of manifests, or of an AWS account.
///
/// VPCs are grouped by account and region. The colour of a line is the state of its connection. CIDR blocks that
/// overlap those of a peer, or of another VPC with the same peer, are red. Without FILE and --region, the resources of
/// all namespaces of the cluster are drawn.
#[derive(Debug, Args)]
pub(crate) struct Draw {
    /// Manifests to draw instead of the cluster; - reads standard input.
    #[arg(value_name = "FILE", conflicts_with_all = ["regions", "identity", "all_namespaces"])]
    files: Vec<PathBuf>,

    /// The format of the drawing.
    #[arg(long, value_enum, default_value_t)]
    format: Format,

    /// A region of AWS to draw instead of the cluster. May be repeated.
    #[arg(long = "region", value_name = "REGION")]
    regions: Vec<String>,

    /// The AwsIdentity whose account is drawn. Defaults to the default credentials of the AWS SDK.
    #[arg(long, value_name = "NAME", requires = "regions")]
    identity: Option<String>,

    /// Draw the resources of all namespaces. This is the default, unless --namespace is set.
    #[arg(long, short = 'A', conflicts_with_all = ["namespace", "regions"])]
    all_namespaces: bool,

    #[command(flatten)]
    kube: KubeArgs,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Format {
    /// A Mermaid flowchart, which GitHub and GitLab draw in Markdown.
    #[default]
    Mermaid,
    /// The DOT language of Graphviz.
    Dot,
    /// An SVG image.
    Svg,
    /// One HTML page with pan, zoom and search.
    Html,
}

impl Format {
    fn render(self, graph: &Graph) -> String {
        match self {
            Self::Mermaid => mermaid::render(graph),
            Self::Dot => dot::render(graph),
            Self::Svg => svg::render(graph),
            Self::Html => html::render(graph),
        }
    }
}

impl Draw {
    pub(super) fn execute(self) -> anyhow::Result<Outcome> {
        let graph = if self.files.is_empty() { super::block_on(self.look())?? } else { from_files(&self.files)? };
        output::print(&self.format.render(&graph))?;
        Ok(Outcome::Success)
    }

    async fn look(&self) -> anyhow::Result<Graph> {
        let progress = Progress::start();
        if self.regions.is_empty() {
            progress.show("reading the resources of the cluster…");
            return self.of_cluster().await;
        }
        let (principal, cluster) = match &self.identity {
            Some(name) => self.principal(name).await?,
            None => (Principal::Own, String::new()),
        };
        let interceptor = Arc::new(Unobserved);
        let config = configuration::from_environment().await.context(
            "the own AWS region is unknown; set the environment variable AWS_REGION, or `region` in the AWS profile",
        )?;
        let tags = SessionTags::Automatic;
        let accounts = Accounts::start(config, interceptor, tags, cluster.into(), Duration::MAX, Arc::new(|_| {}));
        let account = accounts.of(&principal);
        let mut regions = Vec::new();
        for region in &self.regions {
            progress.show(&format!("reading {region}…"));
            let seen = aws::look(&account, region).await;
            regions.push(seen.with_context(|| format!("--region {region}: cannot read the peering connections"))?);
        }
        Ok(aws::graph(&regions))
    }

    /// The role of an identity, and the cluster ID for the tags of its session, which the trust policy may require.
    async fn principal(&self, name: &str) -> anyhow::Result<(Principal, String)> {
        let client = self.kube.connect().await?;
        let identity = Api::<AwsIdentity>::all(client.clone())
            .get_opt(name)
            .await
            .context("--identity: cannot read the AwsIdentity")?;
        let Some(identity) = identity else { bail!("--identity: there is no AwsIdentity {name}") };
        let cluster = cluster_uid(client.clone()).await.ok();
        Ok((Principal::Role(role(&identity)), cluster.unwrap_or_default()))
    }

    async fn of_cluster(&self) -> anyhow::Result<Graph> {
        let client = self.kube.connect().await?;
        let namespace = self.kube.namespace.as_deref();
        let peerings = list::<VpcPeering>(&client, namespace, "VpcPeerings").await?;
        let accepters = list::<VpcPeeringAccepter>(&client, namespace, "VpcPeeringAccepters").await?;
        // Without the right to list identities, an account or a region that only an identity names is unknown.
        let identities = Api::<AwsIdentity>::all(client).list(&ListParams::default()).await;
        Ok(resources::graph(&peerings, &accepters, &identities.map(|list| list.items).unwrap_or_default()))
    }
}

async fn list<K>(client: &Client, namespace: Option<&str>, kind: &str) -> anyhow::Result<Vec<K>>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + DeserializeOwned + std::fmt::Debug,
{
    let api = match namespace {
        Some(namespace) => Api::<K>::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    };
    let context = || match namespace {
        Some(namespace) => format!("cannot list the {kind} of the namespace {namespace}"),
        None => format!("cannot list the {kind} of all namespaces; set --namespace to draw one namespace"),
    };
    Ok(api.list(&ListParams::default()).await.with_context(context)?.items)
}

fn from_files(files: &[PathBuf]) -> anyhow::Result<Graph> {
    let objects = manifests::read(files)?;
    Ok(resources::graph(
        &manifests::of_kind(&objects, "VpcPeering")?,
        &manifests::of_kind(&objects, "VpcPeeringAccepter")?,
        &manifests::of_kind(&objects, "AwsIdentity")?,
    ))
}
