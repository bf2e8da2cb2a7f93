//! `vpc-peering-operator plan`: the steps that the operator would take, without taking them.

mod report;
mod selection;
mod validation;

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use futures::{StreamExt, stream};
use kube::ResourceExt;

use self::report::{Report, Resource};
use self::selection::Selection;
use super::decisions::DecisionArgs;
use super::kubernetes::KubeArgs;
use super::output::{OutputArgs, Progress};
use super::{Outcome, accounts};
use crate::controller::{self, Context, Forecasts};
use crate::operator::cluster_uid;

/// The command ends long before the second poll.
const POLL_INTERVAL: Duration = Duration::from_secs(3600);

/// Concurrent plans. Their reads of EC2 share calls.
const AT_ONCE: usize = 100;

const EXIT_CODES: &str = "Exit codes:
  0  no change
  1  the command failed, or a person has to act before a resource can become what its spec asks for
  2  changes, or the command line is not valid";

/// Prints every step that the operator would take, with the EC2 calls at both ends, and takes none.
///
/// The plan uses the decisions of the operator. It reads the cluster and AWS with the same identities, and asks EC2 by
/// dry runs for the permission to make each call. The API server validates each manifest by a dry run. A manifest that
/// is in the cluster is planned as an update. With an AwsIdentity, the resources that use it are planned. Without
/// arguments, the resources of the cluster are planned. Resources without a change are not printed. Pass the flags that
/// the operator has.
#[derive(Debug, Args)]
#[command(after_help = EXIT_CODES)]
pub(crate) struct Show {
    /// Manifests of VpcPeerings, VpcPeeringAccepters and AwsIdentities; - reads standard input. NAMESPACE/NAME is a
    /// resource of the cluster.
    #[arg(value_name = "FILE|NAMESPACE/NAME")]
    targets: Vec<PathBuf>,

    #[command(flatten)]
    decisions: DecisionArgs,

    #[command(flatten)]
    output: OutputArgs,

    #[command(flatten)]
    kube: KubeArgs,
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
        let selection = Selection::read(&client, &self.targets, self.kube.namespace.as_deref()).await?;
        let Selection { cluster, peerings, accepters, notes } = selection;
        let decisions = self.decisions;
        let id = match decisions.cluster_id.clone() {
            Some(id) => id,
            None => cluster_uid(client.clone()).await?,
        };
        let accounts = accounts::start(decisions.session_tags(), id.clone(), POLL_INTERVAL).await?;
        let settings = (decisions.settings(), decisions.defaults(), decisions.reference_kinds());
        let context = cluster.context(client, accounts, decisions.own_credentials(), id.into(), settings);
        let mut resources = planned(&peerings, &context, &progress).await;
        resources.extend(planned(&accepters, &context, &progress).await);
        Ok(Report::new(resources, notes))
    }
}

async fn planned<K: Forecasts>(objects: &[K], context: &Context, progress: &Progress) -> Vec<Resource> {
    let resources = objects.iter().map(async |object| {
        let planned = controller::plan(object, context).await;
        progress.show(&format!("planned {}…", object.name_any()));
        Resource::new(object, &planned)
    });
    stream::iter(resources).buffered(AT_ONCE).collect().await
}
