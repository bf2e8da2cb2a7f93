//! The AWS accounts that a subcommand reads: that of the default credentials, or that of an `AwsIdentity`.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use kube::Api;

use super::kubernetes::KubeArgs;
use crate::api::AwsIdentity;
use crate::aws::{Account, Accounts, Principal, SessionTags, Unobserved, configuration};
use crate::controller::role;
use crate::operator::cluster_uid;

/// An account, and the identity that gives access to it.
pub(crate) struct Access {
    pub(crate) account: Arc<Account>,
    /// Keeps the sessions of the account.
    _accounts: Accounts,
    /// `None` for the default credentials of the AWS SDK.
    pub(crate) identity: Option<AwsIdentity>,
}

/// The account of an identity, or of the default credentials of the AWS SDK.
///
/// # Errors
/// If the identity cannot be read, or the own region is unknown.
pub(crate) async fn open(kube: &KubeArgs, identity: Option<&str>) -> anyhow::Result<Access> {
    let (principal, cluster, identity) = match identity {
        Some(name) => {
            let (identity, cluster) = read(kube, name).await?;
            (Principal::Role(role(&identity)), cluster, Some(identity))
        }
        None => (Principal::Own, String::new(), None),
    };
    let accounts = start(SessionTags::Automatic, cluster, Duration::MAX).await?;
    Ok(Access { account: accounts.of(&principal), _accounts: accounts, identity })
}

/// The accounts of one run of a command, which nobody observes.
///
/// # Errors
/// If the own region is unknown.
pub(crate) async fn start(tags: SessionTags, cluster: String, poll_interval: Duration) -> anyhow::Result<Accounts> {
    let config = configuration::from_environment().await?;
    Ok(Accounts::start(config, Arc::new(Unobserved), tags, cluster.into(), poll_interval, Arc::new(|_| {})))
}

/// An identity, and the cluster ID for the tags of its session, which the trust policy may require.
async fn read(kube: &KubeArgs, name: &str) -> anyhow::Result<(AwsIdentity, String)> {
    let client = kube.connect().await?;
    let identity = Api::<AwsIdentity>::all(client.clone())
        .get_opt(name)
        .await
        .context("--identity: cannot read the AwsIdentity; check --kubeconfig, --context and your rights")?;
    let Some(identity) = identity else {
        bail!("--identity: there is no AwsIdentity {name}; `kubectl get awsidentities` lists them")
    };
    let cluster = cluster_uid(client).await.ok();
    Ok((identity, cluster.unwrap_or_default()))
}
