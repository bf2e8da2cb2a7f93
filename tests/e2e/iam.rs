//! All end-to-end tests on the simulator run under the policies in `deploy/iam`, with the placeholders replaced as its
//! README says. The policies must allow every call of the operator, and every action and statement must be used.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use ec2_simulator::iam::{Attachment, Kind, Policy};
use ec2_simulator::journal::{Entry, Query};
use ec2_simulator::{Client, Settings};
use environment::{ec2, eventually, repository};
use k8s_openapi::api::core::v1::Namespace;
use kube::Api;
use serde_json::{Value, json};

use super::world::{OTHER_ACCOUNT, REGION, World, condition, connection_id};

/// Needs no permission in AWS.
/// <https://docs.aws.amazon.com/STS/latest/APIReference/API_GetCallerIdentity.html>
const FREE: &str = "GetCallerIdentity";

const LIMIT: Duration = Duration::from_secs(30);

pub const EXTERNAL_ID: &str = "chosen-by-both-sides";

const OWN_ACCOUNT: &str = "111111111111";
/// The user whose access keys the operator has.
const OPERATOR: &str = "arn:aws:iam::111111111111:user/simulated";

/// Tests in which the operator adopts connections, or restores removed ownership tags. They need the temporary grant
/// that the README describes.
const ADOPTING: &[&str] = &[
    "adoption::an_existing_connection_is_adopted",
    "examples::every_example_works",
    "cli::import::migration",
    "plan::the_operator_makes_the_planned_calls",
];

/// Tests in which the operator turns on DNS attributes.
const DNS: &[&str] = &["plan::the_operator_makes_the_planned_calls"];

/// Tests in which EC2 refuses tags, but options must be set. The policies bind options to tags, so these tests need an
/// extra grant.
const UNTAGGED: &[&str] = &[
    "accepter::faults::a_missing_permission_blocks_nothing_else",
    "both_ends::permissions::each_missing_permission_is_reported_and_blocks_nothing_else",
];

/// Files that grant something. `guard.json` only denies, and moto serves SQS, which does not evaluate policies.
const GRANTS: [&str; 11] = [
    "hub",
    "trust",
    "requester",
    "accepter",
    "own-credentials",
    "adoption",
    "own-credentials-adoption",
    "dns-attributes",
    "security-groups",
    "this-cluster",
    "trace",
];

/// The actions that operators used, and the statements that allowed them.
#[derive(Debug, Default)]
pub struct Seen(Mutex<(BTreeSet<String>, BTreeSet<String>)>);

impl Seen {
    /// Records the calls of the operator with this key, and of its sessions. Fails if the policies denied one of them.
    pub async fn record(&self, simulator: &Client, key: &str) -> Result<()> {
        let entries = simulator.journal(&Query::default()).await?.entries;
        let entries: Vec<_> = entries.iter().filter(|entry| is_the_operators(entry, key)).collect();
        let denied: BTreeSet<_> = entries.iter().filter_map(|entry| entry.denied.as_deref()).collect();
        ensure!(denied.is_empty(), "deploy/iam: {denied:#?}");
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for entry in entries {
            seen.0.extend(actions(entry));
            seen.1.extend(entry.allowed_by.iter().cloned());
        }
        Ok(())
    }

    /// Fails if the policies lack a used action, or have an action or statement that was not used.
    pub fn check(&self) -> Result<()> {
        let (actions, statements) = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let (mut granted, mut written) = (BTreeSet::new(), BTreeSet::new());
        for name in GRANTS {
            granted.extend(self::granted(name)?);
            let policy = Policy::parse(&read(name)?).map_err(anyhow::Error::msg)?;
            written.extend(policy.statements().map(|sid| format!("{name}/{sid}")));
        }
        let missing: Vec<_> = actions.difference(&granted).collect();
        let unused: Vec<_> = granted.difference(&actions).chain(written.difference(&statements)).collect();
        ensure!(
            missing.is_empty() && unused.is_empty(),
            "deploy/iam: missing {missing:?}, granted but not used {unused:?}"
        );
        Ok(())
    }
}

fn is_the_operators(entry: &Entry, key: &str) -> bool {
    let by_session = entry.session.as_ref().is_some_and(|session| session.name != super::world::TEST_SESSION);
    by_session || entry.access_key_id.as_deref() == Some(key)
}

/// The name of an action with the prefix of its service, as policies have it.
pub fn permission(action: &str) -> String {
    match action {
        "GetServiceQuota" => format!("servicequotas:{action}"),
        action => format!("ec2:{action}"),
    }
}

fn actions(entry: &Entry) -> Vec<String> {
    match entry.action.as_str() {
        FREE => Vec::new(),
        "AssumeRole" if entry.parameters.keys().any(|name| name.starts_with("Tags.")) => {
            vec!["sts:AssumeRole".into(), "sts:TagSession".into()]
        }
        "AssumeRole" => vec!["sts:AssumeRole".into()],
        "CreateVpcPeeringConnection" => vec!["ec2:CreateVpcPeeringConnection".into(), "ec2:CreateTags".into()],
        action => vec![permission(action)],
    }
}

/// The actions that a policy grants.
pub fn granted(name: &str) -> Result<BTreeSet<String>> {
    let policy = read(name)?;
    let mut granted = BTreeSet::new();
    for statement in policy["Statement"].as_array().into_iter().flatten() {
        ensure!(statement["Effect"] == "Allow", "{statement}");
        let actions = match &statement["Action"] {
            Value::Array(actions) => actions.clone(),
            one => vec![one.clone()],
        };
        granted.extend(actions.iter().filter_map(|action| action.as_str().map(str::to_owned)));
    }
    Ok(granted)
}

fn read(name: &str) -> Result<Value> {
    let text = std::fs::read_to_string(repository().join(format!("deploy/iam/{name}.json")))?;
    Ok(serde_json::from_str(&text)?)
}

/// Every VPC and route table may be peered.
pub fn settings() -> Settings {
    Settings { tags_of_vpcs: [("vpc-peering".to_owned(), "allowed".to_owned())].into(), ..Settings::default() }
}

/// The policies of one test.
#[derive(Clone, Debug)]
pub struct Policies {
    /// The cluster IDs that the policies allow.
    clusters: Vec<String>,
    /// Whether the temporary grant for adoption is attached.
    adopts: bool,
    /// Whether DNS attributes of VPCs may be turned on.
    dns: bool,
    /// Whether security groups may be read.
    security_groups: bool,
    /// Whether the VPC of the nodes may be found.
    this_cluster: bool,
    /// Whether options may be set without tags.
    untagged: bool,
}

impl Policies {
    /// The policies of a test on this control plane. Tests with a second cluster call it `another`.
    pub async fn new(client: &kube::Client, test: &str) -> Result<Self> {
        let namespace = Api::<Namespace>::all(client.clone()).get("kube-system").await?;
        let clusters = vec![namespace.metadata.uid.context("no UID")?, "another".to_owned()];
        let is_in = |tests: &[&str]| tests.iter().any(|name| test.ends_with(name));
        Ok(Self {
            clusters,
            adopts: is_in(ADOPTING),
            dns: test.contains("dns::") || is_in(DNS),
            security_groups: test.contains("security_groups::"),
            this_cluster: test.contains("references::"),
            untagged: is_in(UNTAGGED),
        })
    }

    /// Attaches the operator's policies to an access key.
    pub async fn bind_key(&self, simulator: &Client, key: &str) -> Result<()> {
        let names = ["hub", "own-credentials"].into_iter().chain(self.adopts.then_some("own-credentials-adoption"));
        let names = names.chain(self.dns.then_some("dns-attributes"));
        let names = names.chain(self.security_groups.then_some("security-groups"));
        let names = names.chain(self.this_cluster.then_some("this-cluster"));
        self.attach(simulator, key, OWN_ACCOUNT, names).await
    }

    /// Attaches the policies for `trace` to an access key of the operator's account.
    pub async fn bind_trace_key(&self, simulator: &Client, key: &str) -> Result<()> {
        self.attach(simulator, key, OWN_ACCOUNT, ["hub", "trace"].into_iter()).await
    }

    /// Attaches the policy of an operator that assumes roles to an access key of the operator's account.
    pub async fn bind_hub(&self, simulator: &Client, key: &str) -> Result<()> {
        self.attach(simulator, key, OWN_ACCOUNT, ["hub"].into_iter()).await
    }

    /// Replaces the policy of the accepter's role by that for `trace`.
    pub async fn bind_trace_role(&self, simulator: &Client, arn: &str) -> Result<()> {
        simulator.detach_policy(arn, "accepter").await?;
        self.attach(simulator, arn, OTHER_ACCOUNT, ["trace"].into_iter()).await
    }

    /// Attaches the policy and the trust policy to a role: the requester's in the test's own account, else the
    /// accepter's.
    pub async fn bind_role(&self, simulator: &Client, arn: &str, account: &str) -> Result<()> {
        let end = if account == OWN_ACCOUNT { "requester" } else { "accepter" };
        let names = ["trust", end].into_iter().chain(self.security_groups.then_some("security-groups"));
        let names = names.chain(self.dns.then_some("dns-attributes"));
        self.attach(simulator, arn, account, names).await?;
        if self.adopts {
            self.grant_adoption(simulator, arn, account).await?;
        }
        if self.untagged {
            let document = json!({"Version": "2012-10-17", "Statement": [
                {"Sid": "A", "Effect": "Allow", "Action": "ec2:ModifyVpcPeeringConnectionOptions", "Resource": "*"},
            ]});
            let (principal, name) = (arn.to_owned(), "options-without-tags".to_owned());
            simulator.attach_policy(&Attachment { principal, name, kind: Kind::Identity, document }).await?;
        }
        Ok(())
    }

    /// Allows a role to adopt connections without ownership tags.
    async fn grant_adoption(&self, simulator: &Client, arn: &str, account: &str) -> Result<()> {
        self.attach(simulator, arn, account, ["adoption"].into_iter()).await
    }

    async fn attach(
        &self,
        simulator: &Client,
        principal: &str,
        account: &str,
        names: impl Iterator<Item = &'static str>,
    ) -> Result<()> {
        for name in names {
            let kind = if name == "trust" { Kind::Trust } else { Kind::Identity };
            let document = filled(read(name)?, name, account, &self.clusters);
            simulator
                .attach_policy(&Attachment { principal: principal.into(), name: name.into(), kind, document })
                .await?;
        }
        Ok(())
    }
}

/// A policy for an account with the placeholders replaced, as the README says.
fn filled(document: Value, name: &str, account: &str, clusters: &[String]) -> Value {
    match document {
        Value::Object(fields) => {
            fields.into_iter().map(|(key, value)| (key, filled(value, name, account, clusters))).collect()
        }
        Value::Array(values) => {
            let values = values.into_iter().map(|value| filled(value, name, account, clusters));
            let one_or_many = |value| match value {
                Value::Array(values) => values,
                one => vec![one],
            };
            values.flat_map(one_or_many).collect()
        }
        Value::String(text) => match text.as_str() {
            "11111111-2222-3333-4444-555555555555" => json!(clusters),
            "arn:aws:iam::333333333333:role/vpc-peering-operator" => json!(OPERATOR),
            // The roles of the tests have another path.
            text if name == "hub" => json!(text.replace("role/vpc-peering/", "role/")),
            text => in_account(text, name, account),
        },
        other => other,
    }
}

/// Either account may be at the other end.
fn in_account(text: &str, name: &str, account: &str) -> Value {
    let (own, peer) = if name == "accepter" { (OTHER_ACCOUNT, OWN_ACCOUNT) } else { (OWN_ACCOUNT, OTHER_ACCOUNT) };
    if text.contains(peer) {
        return json!([OWN_ACCOUNT, OTHER_ACCOUNT].map(|one| text.replace(peer, one)));
    }
    json!(text.replace(own, account))
}

/// Without the temporary grant, the operator reports the missing permission and changes nothing. With it, it adopts.
pub async fn a_role_adopts_a_connection_only_while_its_policy_allows_it(world: World) -> Result<()> {
    let create = world.ec2.create_vpc_peering_connection().vpc_id(&world.requester).peer_vpc_id(&world.accepter);
    let id = create.send().await?.vpc_peering_connection.and_then(|made| made.vpc_peering_connection_id);
    let id = id.context("no ID")?;
    eventually("acceptable", LIMIT, async || {
        world.ec2.accept_vpc_peering_connection().vpc_peering_connection_id(&id).send().await?;
        Ok(())
    })
    .await?;
    let _operator = world.operator.start().await?;
    let allowed = json!({"allowedNamespaces": {"list": [world.namespace]}});
    let identity = json!({"name": world.apply_identity(OWN_ACCOUNT, allowed).await?});
    let mut manifest = world.manifest_with(json!({"vpcPeeringConnectionId": id}));
    manifest["spec"]["requester"]["identityRef"] = identity;
    world.apply(&manifest).await?;
    let object = world.until_stalled("Unauthorized").await?;
    let message = &condition(&object, "Ready").context("no condition")?.message;
    ensure!(message.contains("ec2:CreateTags") && message.contains(&id), "{message}");
    ensure!(
        connection_id(&object).is_none() && world.peerings().await?.iter().all(|peering| peering.tags().is_empty())
    );

    let role = format!("arn:aws:iam::{OWN_ACCOUNT}:role/peering/{}", world.namespace);
    world.policies.grant_adoption(world.simulator(), &role, OWN_ACCOUNT).await?;
    // The denied calls so far are expected.
    world.simulator().clear_journal().await?;
    world.request_reconcile("granted").await?;
    let object = world.until_ready().await?;
    ensure!(connection_id(&object) == Some(id.as_str()));
    world.simulator().detach_policy(&role, "adoption").await?;
    // The connection now carries ownership tags, so the grant is no longer needed.
    world.patch(json!({"spec": {"tags": [{"key": "a", "value": "b"}]}})).await?;
    eventually("tagged", LIMIT, async || {
        let peerings = world.peerings().await?;
        ensure!(peerings.iter().flat_map(|peering| peering.tags()).any(|tag| tag.key() == Some("a")), "{peerings:?}");
        Ok(())
    })
    .await?;
    world.delete().await?;
    world.until_gone().await
}

/// EC2 authorizes a rejection on the connection alone.
pub async fn own_credentials_can_reject_a_denied_request(world: World) -> Result<()> {
    let _operator = world.operator.start().await?;
    let create = world.ec2.create_vpc_peering_connection().vpc_id(&world.requester).peer_vpc_id(&world.accepter);
    create.send().await?;
    let manifest = json!({
        "apiVersion": "vpcpeering.dev/v1alpha1",
        "kind": "VpcPeeringAccepter",
        "metadata": {"name": "accepter", "namespace": world.namespace},
        "spec": {
            "vpcId": world.accepter,
            "region": REGION,
            "deny": [{"vpcIds": [world.requester]}],
            "reject": true,
        },
    });
    world.apply_text(&manifest).await?;
    eventually("rejected", LIMIT, async || {
        let peerings = world.peerings().await?;
        ensure!(peerings.iter().all(|peering| ec2::code(peering) == "rejected"), "{peerings:?}");
        Ok(())
    })
    .await
    .map_err(|error| world.with_log(error))
}
