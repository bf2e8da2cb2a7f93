use anyhow::{Result, ensure};
use aws_credential_types::Credentials;

use crate::cloud::{ANOTHER_ACCOUNT, Cloud, HERE, refused_with};

pub(super) async fn a_key_has_an_account(cloud: &Cloud) -> Result<()> {
    let caller = cloud.sts().get_caller_identity().send().await?;
    let account = caller.account().unwrap_or_default();
    ensure!(account.len() == 12, "{caller:?}");
    ensure!(caller.arn().is_some_and(|arn| arn.contains(account)), "{caller:?}");
    ensure!(caller.user_id().is_some_and(|id| !id.is_empty()), "{caller:?}");
    Ok(())
}

pub(super) async fn a_role_acts_in_its_account(cloud: &Cloud) -> Result<()> {
    let another = cloud.another().await?;
    ensure!(another.account().await? == ANOTHER_ACCOUNT);
    let caller = another.sts().get_caller_identity().send().await?;
    let arn = format!("arn:aws:sts::{ANOTHER_ACCOUNT}:assumed-role/peer/contract");
    ensure!(caller.arn() == Some(&arn), "{caller:?}");
    let theirs = another.vpc(HERE, "10.0.0.0/16").await?;
    refused_with(cloud.ec2(HERE).describe_vpcs().vpc_ids(theirs).send().await, "InvalidVpcID.NotFound")?;
    Ok(())
}

pub(super) async fn an_unknown_key_is_rejected(cloud: &Cloud) -> Result<()> {
    let ec2 = cloud.ec2_as(HERE, Credentials::from_keys("AKIAUNKNOWN000000000", "any", None));
    let refused = refused_with(ec2.describe_vpcs().send().await, "AuthFailure")?;
    ensure!(refused.status == 401, "{refused:?}");
    Ok(())
}
