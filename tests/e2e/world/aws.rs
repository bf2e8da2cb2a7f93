//! EC2 as the test sees it: the simulator and its journal, other accounts, and the connections of the test's VPCs.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use aws_sdk_ec2::Client as Ec2;
use aws_sdk_ec2::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_ec2::types::VpcPeeringConnection;
use ec2_simulator::journal::{Entry, Query};
use ec2_simulator::world::identity::Role;
use ec2_simulator::{Client as Simulator, Fault, Kind, Matching};
use environment::ec2;

use super::{OTHER_ACCOUNT, REGION, TEST_SESSION, World};

impl World {
    /// Records the operator's calls for the check of `deploy/iam`.
    pub async fn record_calls(&self) -> Result<()> {
        match &self.simulator {
            Some((_, simulator)) => self.shared.seen.record(simulator, &self.key).await,
            None => Ok(()),
        }
    }

    /// Clears the journal. Its calls still count in the check of `deploy/iam`; only a test that expects denied calls
    /// clears the journal of the simulator itself.
    pub async fn clear_journal(&self) -> Result<()> {
        self.record_calls().await?;
        self.simulator().clear_journal().await
    }

    /// The operator's access key.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// The client of the simulator. Panics if the test runs on moto.
    pub fn simulator(&self) -> &Simulator {
        self.simulator_if_used().expect("the test runs on the simulator")
    }

    pub fn simulator_if_used(&self) -> Option<&Simulator> {
        self.simulator.as_ref().map(|(_, simulator)| simulator)
    }

    /// Adds a fault to an action of the simulator, `*` for all; returns the ID that removes it.
    pub async fn fault(&self, action: &str, count: Option<u32>, kind: Kind) -> Result<u64> {
        let matching = Matching { action: Some(action.to_owned()), ..Matching::default() };
        self.simulator().add_fault(&Fault { matching, count, probability: 1.0, kind }).await
    }

    /// Number of calls of an action, including those that the simulator refused.
    pub async fn calls(&self, action: &str) -> Result<u64> {
        let journal = self.simulator().journal(&Query::default()).await?;
        Ok(journal.counters.get(action).map_or(0, |counter| counter.calls))
    }

    /// The calls of an action that the simulator answered, oldest first.
    pub async fn journal(&self, action: &str) -> Result<Vec<Entry>> {
        let query = Query { action: Some(action.to_owned()), ..Query::default() };
        Ok(self.simulator().journal(&query).await?.entries)
    }

    /// Number of calls to EC2. Calls to STS do not count.
    pub async fn ec2_calls(&self) -> Result<u64> {
        let counters = self.simulator().journal(&Query::default()).await?.counters;
        let other_services = ["AssumeRole", "GetCallerIdentity", "GetServiceQuota"];
        Ok(counters
            .iter()
            .filter(|(action, _)| !other_services.contains(&action.as_str()))
            .map(|(_, counter)| counter.calls)
            .sum())
    }

    /// A client of another account of the simulator, and a VPC there.
    pub async fn another_account(&self) -> Result<(Ec2, String)> {
        let key = self.simulator().create_key(OTHER_ACCOUNT).await?;
        let ec2 = ec2::client_as(&self.endpoint, REGION, &key.access_key_id);
        let vpc = ec2::create_vpc(&ec2, "10.3.0.0/16").await?;
        Ok((ec2, vpc))
    }

    /// Creates this test's role in an account; it trusts the operator's account. Returns the ARN.
    pub async fn create_role(&self, account: &str) -> Result<String> {
        let arn = format!("arn:aws:iam::{account}:role/peering/{}", self.namespace);
        if let Some((_, simulator)) = &self.simulator {
            let role = Role { arn: arn.clone(), trusted: vec!["111111111111".into()], external_id: None };
            simulator.put_role(&role).await?;
            self.policies.bind_role(simulator, &arn, account).await?;
        }
        Ok(arn)
    }

    /// An EC2 client with the credentials of an account.
    pub async fn client_in_account(&self, account: &str, region: &str) -> Result<Ec2> {
        let config = aws_sdk_sts::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .credentials_provider(Credentials::from_keys("test", "any", None))
            .endpoint_url(&self.endpoint)
            .http_client(aws_smithy_http_client::Builder::new().build_http())
            // Its tokens are valid in all regions.
            .region(Region::new(REGION))
            .build();
        // Not the operator's role: its policies are too narrow for a test.
        let role = format!("arn:aws:iam::{account}:role/test");
        if let Some((_, simulator)) = &self.simulator {
            let role = Role { arn: role.clone(), trusted: vec!["111111111111".into()], external_id: None };
            simulator.put_role(&role).await?;
        }
        let session = aws_sdk_sts::Client::from_conf(config)
            .assume_role()
            .role_arn(role)
            .role_session_name(TEST_SESSION)
            .send()
            .await?;
        let session = session.credentials.context("no credentials")?;
        let credentials =
            Credentials::from_keys(session.access_key_id, session.secret_access_key, Some(session.session_token));
        Ok(ec2::client_with(&self.endpoint, region, credentials))
    }

    /// The connections between the test's VPCs, in either direction.
    pub async fn peerings(&self) -> Result<Vec<VpcPeeringConnection>> {
        let mut peerings = ec2::peerings_of(&self.ec2, &self.requester).await?;
        peerings.extend(ec2::peerings_of(&self.ec2, &self.accepter).await?);
        Ok(peerings)
    }

    /// The connections that are neither failed, rejected, expired nor deleted.
    pub async fn live_peerings(&self) -> Result<Vec<VpcPeeringConnection>> {
        let ended = ["failed", "rejected", "expired", "deleted"];
        Ok(self.peerings().await?.into_iter().filter(|connection| !ended.contains(&ec2::code(connection))).collect())
    }

    /// The tags of a connection, without the ownership tags.
    pub async fn user_tags(&self, id: &str) -> Result<BTreeMap<String, String>> {
        let peerings = self.peerings().await?;
        let connection = peerings.iter().find(|connection| connection.vpc_peering_connection_id() == Some(id));
        let tags = connection.context("no such connection")?.tags();
        let tags = tags.iter().filter_map(|tag| Some((tag.key()?.to_owned(), tag.value()?.to_owned())));
        Ok(tags.filter(|(key, _)| !key.starts_with("vpcpeering.dev/")).collect())
    }
}
