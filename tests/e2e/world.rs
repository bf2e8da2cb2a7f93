//! What a test has to itself: a namespace, two VPCs, and an operator that looks after that namespace alone.

use std::collections::BTreeMap;
use std::fmt;
use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use aws_sdk_ec2::Client as Ec2;
use aws_sdk_ec2::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_ec2::types::VpcPeeringConnection;
use ec2_simulator::clock::Clock;
use ec2_simulator::journal::{Entry, Query};
use ec2_simulator::world::identity::Role;
use ec2_simulator::{Client as Simulator, Fault, Kind, Matching, Server};
use environment::{Operator, ec2, eventually};
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use k8s_openapi::jiff::Timestamp;
use kube::api::{DeleteParams, ListParams, ObjectMeta, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::{Value, json};
use vpc_peering_operator::api::{AwsIdentity, VpcPeering};

use super::{Shared, iam};

pub const REGION: &str = "eu-central-1";
pub const OTHER_REGION: &str = "us-west-2";
/// What EC2 may do with a repeated request, as the simulator names it.
pub const REPEATS: [&str; 3] = ["return-existing", "return-existing-with-new-tags", "mint-new"];
pub const OTHER_ACCOUNT: &str = "222222222222";
/// The operator's secret access key.
pub const SECRET: &str = "a-secret-that-nobody-may-see";
/// The sessions of the tests themselves.
pub const TEST_SESSION: &str = "test";

/// Long enough on a slow and busy machine; a test that passes never waits for it.
const LIMIT: Duration = Duration::from_secs(60);

/// Whose EC2 a test runs on.
#[derive(Clone, Copy, Debug)]
pub enum Cloud {
    Moto,
    Simulator,
}

impl fmt::Display for Cloud {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Moto => "moto",
            Self::Simulator => "simulator",
        })
    }
}

#[derive(Clone)]
pub struct World {
    /// The resource's name.
    pub name: String,
    pub shared: Arc<Shared>,
    pub client: Client,
    pub namespace: String,
    pub ec2: Ec2,
    /// Where EC2 answers.
    pub endpoint: String,
    pub requester: String,
    pub accepter: String,
    /// Not started yet.
    pub operator: Operator,
    simulator: Option<(Arc<Server>, Simulator)>,
    /// The operator's access key there.
    key: String,
    pub policies: iam::Policies,
}

impl World {
    pub async fn new(shared: Arc<Shared>, test: &str, cloud: Cloud) -> Result<Self> {
        let client = shared.control_plane.admin().await?;
        let short = test.rsplit("::").next().unwrap_or_default().replace('_', "-");
        let namespace = format!("{cloud}-{short}").chars().take(60).collect::<String>();
        let namespace = namespace.trim_end_matches('-').to_owned();
        let object = Namespace {
            metadata: ObjectMeta { name: Some(namespace.clone()), ..ObjectMeta::default() },
            ..Namespace::default()
        };
        Api::all(client.clone()).create(&PostParams::default(), &object).await?;
        let simulator = match cloud {
            Cloud::Moto => None,
            Cloud::Simulator => {
                let clock = Clock::new(Timestamp::now(), 1.0);
                let simulator = ec2_simulator::Simulator::new(iam::settings(), clock, 1);
                let server = Server::start((Ipv4Addr::LOCALHOST, 0).into(), simulator).await?;
                let simulator = Simulator::new(&server.url());
                Some((Arc::new(server), simulator))
            }
        };
        let endpoint = simulator.as_ref().map_or_else(|| shared.moto.url.clone(), |(server, _)| server.url());
        let ec2 = ec2::client(&endpoint, REGION);
        let requester = ec2::create_vpc(&ec2, "10.1.0.0/16").await?;
        let accepter = ec2::create_vpc(&ec2, "10.2.0.0/16").await?;
        let program = Path::new(env!("CARGO_BIN_EXE_vpc-peering-operator"));
        let operator = Operator::new(program, &shared.control_plane, &endpoint, &format!("{namespace}.log"))
            .await?
            .with("WATCH_NAMESPACE", &namespace)
            .with("POLL_INTERVAL", "500ms")
            .with("CONSISTENCY_WINDOW", "2s")
            .with("RECREATION_PAUSE", "1s")
            .with("LOG_LEVEL", "info,vpc_peering_operator=debug");
        // A key of its own, so that its calls can be told from the test's.
        let key = match &simulator {
            Some((_, simulator)) => simulator.create_key("111111111111").await?.access_key_id,
            None => "test".to_owned(),
        };
        let policies = iam::Policies::new(&client, test).await?;
        if let Some((_, simulator)) = &simulator {
            policies.bind_key(simulator, &key).await?;
        }
        let operator = operator.with("AWS_ACCESS_KEY_ID", &key).with("AWS_SECRET_ACCESS_KEY", SECRET);
        let name = "peering".to_owned();
        Ok(Self {
            key,
            policies,
            name,
            shared,
            client,
            namespace,
            ec2,
            endpoint,
            requester,
            accepter,
            operator,
            simulator,
        })
    }

    /// The same world, for another resource in it.
    pub fn another(&self, name: &str) -> Self {
        Self { name: name.to_owned(), ..self.clone() }
    }

    /// The same world, for the operator of another cluster and its namespace.
    pub fn of_another_cluster(&self, namespace: &str, cluster: &str) -> Self {
        let operator = self.operator.clone().with("WATCH_NAMESPACE", namespace).with("CLUSTER_ID", cluster);
        Self { namespace: namespace.to_owned(), operator, ..self.clone() }
    }

    /// Takes note of what the operator asked for.
    pub async fn note(&self, seen: &iam::Seen) -> Result<()> {
        match &self.simulator {
            Some((_, simulator)) => seen.note(simulator, &self.key).await,
            None => Ok(()),
        }
    }

    /// What commands the simulator that this test runs on.
    pub fn simulator(&self) -> &Simulator {
        self.has_simulator().expect("the test runs on the simulator")
    }

    /// The same, where the test may run on another EC2.
    pub fn has_simulator(&self) -> Option<&Simulator> {
        self.simulator.as_ref().map(|(_, simulator)| simulator)
    }

    /// Makes the simulator's calls of this action behave badly; returns what ends that.
    pub async fn fault(&self, action: &str, count: Option<u32>, kind: Kind) -> Result<u64> {
        let matching = Matching { action: Some(action.to_owned()), ..Matching::default() };
        self.simulator().add_fault(&Fault { matching, count, probability: 1.0, kind }).await
    }

    /// How often the simulator was asked for this action, refusals included.
    pub async fn calls(&self, action: &str) -> Result<u64> {
        let journal = self.simulator().journal(&Query::default()).await?;
        Ok(journal.counters.get(action).map_or(0, |counter| counter.calls))
    }

    /// A client of another account of the simulator, and a VPC there.
    pub async fn another_account(&self) -> Result<(Ec2, String)> {
        let key = self.simulator().create_key(OTHER_ACCOUNT).await?;
        let ec2 = ec2::client_as(&self.endpoint, REGION, &key.access_key_id);
        let vpc = ec2::create_vpc(&ec2, "10.3.0.0/16").await?;
        Ok((ec2, vpc))
    }

    /// The name of an `AwsIdentity` by which the operator can act in another account, with these fields in its spec
    /// besides.
    pub async fn identity(&self, account: &str, spec: Value) -> Result<String> {
        let name = format!("{}-{account}", self.namespace);
        self.identity_named(&name, account, spec).await?;
        Ok(name)
    }

    pub async fn identity_named(&self, name: &str, account: &str, spec: Value) -> Result<()> {
        let arn = self.role(account).await?;
        let mut manifest = json!({
            "apiVersion": "vpcpeering.dev/v1alpha1",
            "kind": "AwsIdentity",
            "metadata": {"name": name},
            "spec": {"accountId": account, "roleArn": arn, "externalId": iam::EXTERNAL_ID},
        });
        for (key, value) in spec.as_object().into_iter().flatten() {
            manifest["spec"][key] = value.clone();
        }
        let api = Api::<AwsIdentity>::all(self.client.clone());
        api.patch(name, &PatchParams::apply("test").force(), &Patch::Apply(manifest)).await?;
        Ok(())
    }

    /// The ARN of this test's role in another account, which trusts the operator's own.
    async fn role(&self, account: &str) -> Result<String> {
        let arn = format!("arn:aws:iam::{account}:role/peering/{}", self.namespace);
        if let Some((_, simulator)) = &self.simulator {
            let role = Role { arn: arn.clone(), trusted: vec!["111111111111".into()], external_id: None };
            simulator.put_role(&role).await?;
            self.policies.bind_role(simulator, &arn, account).await?;
        }
        Ok(arn)
    }

    /// A client of another account, in some region.
    pub async fn in_account(&self, account: &str, region: &str) -> Result<Ec2> {
        let config = aws_sdk_sts::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .credentials_provider(Credentials::from_keys("test", "any", None))
            .endpoint_url(&self.endpoint)
            .http_client(aws_smithy_http_client::Builder::new().build_http())
            .region(Region::new(region.to_owned()))
            .build();
        // Not the operator's, which is bound by its policies.
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

    /// The calls of an action that the simulator answered, oldest first.
    pub async fn journal(&self, action: &str) -> Result<Vec<Entry>> {
        let query = Query { action: Some(action.to_owned()), ..Query::default() };
        Ok(self.simulator().journal(&query).await?.entries)
    }

    /// How often the simulator's EC2 was asked for anything.
    pub async fn ec2_calls(&self) -> Result<u64> {
        let counters = self.simulator().journal(&Query::default()).await?.counters;
        let of_sts = ["AssumeRole", "GetCallerIdentity"];
        Ok(counters
            .iter()
            .filter(|(action, _)| !of_sts.contains(&action.as_str()))
            .map(|(_, counter)| counter.calls)
            .sum())
    }

    /// A resource for the test's two VPCs.
    pub fn manifest(&self) -> Value {
        json!({
            "apiVersion": "vpcpeering.dev/v1alpha1",
            "kind": "VpcPeering",
            "metadata": {"name": self.name, "namespace": self.namespace},
            "spec": {
                "requester": {"vpcId": self.requester, "region": REGION},
                "accepter": {"vpcId": self.accepter},
            },
        })
    }

    /// The same with other fields in its spec.
    pub fn manifest_with(&self, spec: Value) -> Value {
        let mut manifest = self.manifest();
        for (key, value) in spec.as_object().into_iter().flatten() {
            manifest["spec"][key] = value.clone();
        }
        manifest
    }

    pub fn api(&self) -> Api<VpcPeering> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// A merge patch of the resource.
    pub async fn patch(&self, patch: Value) -> Result<VpcPeering> {
        Ok(self.api().patch(&self.name, &PatchParams::default(), &Patch::Merge(patch)).await?)
    }

    /// Asks for an immediate look, as a user does.
    pub async fn ask_to_look(&self, value: &str) -> Result<VpcPeering> {
        self.patch(json!({"metadata": {"annotations": {"vpcpeering.dev/reconcile-at": value}}})).await
    }

    /// The resource, once EC2's code is this one.
    pub async fn until_code(&self, code: &str) -> Result<VpcPeering> {
        self.until(code, |object| status_code(object) == Some(code)).await
    }

    /// Applies a manifest as GitOps tools do. Sent as it is, so that no type of ours stands between.
    pub async fn apply(&self, manifest: &Value) -> Result<VpcPeering, kube::Error> {
        self.api().patch(&self.name, &PatchParams::apply("test").force(), &Patch::Apply(manifest)).await
    }

    /// Applies what our own types may not be able to read.
    pub async fn apply_text(&self, manifest: &Value) -> Result<()> {
        let file = self.shared.control_plane.folder().join(format!("{}-{}.json", self.namespace, self.name));
        std::fs::write(&file, manifest.to_string())?;
        self.shared
            .control_plane
            .kubectl(&["apply", "--server-side", "--force-conflicts", "-f", &file.to_string_lossy()])
            .await?;
        Ok(())
    }

    pub async fn get(&self) -> Result<VpcPeering> {
        Ok(self.api().get(&self.name).await?)
    }

    pub async fn delete(&self) -> Result<()> {
        self.api().delete(&self.name, &DeleteParams::default()).await?;
        Ok(())
    }

    /// The resource, once it is as described.
    pub async fn until(&self, what: &str, is_so: impl Fn(&VpcPeering) -> bool) -> Result<VpcPeering> {
        eventually(what, LIMIT, async || {
            let object = self.get().await?;
            ensure!(is_so(&object), "status is {}", serde_json::to_string_pretty(&object.status)?);
            Ok(object)
        })
        .await
        .with_context(|| self.log())
    }

    pub async fn until_ready(&self) -> Result<VpcPeering> {
        self.until("ready", |object| condition(object, "Ready").is_some_and(|ready| ready.status == "True")).await
    }

    /// The resource, once it is stalled for this reason.
    pub async fn until_stalled(&self, reason: &str) -> Result<VpcPeering> {
        let is_so = |object: &VpcPeering| condition(object, "Stalled").is_some_and(|stalled| stalled.reason == reason);
        let object = self.until(&format!("stalled: {reason}"), is_so).await?;
        let ready = condition(&object, "Ready").context("no condition Ready")?;
        ensure!(ready.status == "False" && ready.reason == reason, "Ready is {ready:?}");
        ensure!(condition(&object, "Reconciling").is_none(), "both Stalled and Reconciling");
        Ok(object)
    }

    /// The resource, once it is stalled for this reason and nobody knows how its peering stands.
    pub async fn until_stalled_unknown(&self, reason: &str) -> Result<VpcPeering> {
        self.until(&format!("unknown: {reason}"), |object| {
            condition(object, "Stalled").is_some_and(|stalled| stalled.reason == reason)
                && condition(object, "Ready").is_some_and(|ready| ready.status == "Unknown")
        })
        .await
    }

    pub async fn until_gone(&self) -> Result<()> {
        eventually("gone", LIMIT, async || match self.api().get_opt(&self.name).await? {
            None => Ok(()),
            Some(object) => bail!("status is {}", serde_json::to_string_pretty(&object.status)?),
        })
        .await
        .with_context(|| self.log())
    }

    /// Every connection that EC2 shows for the test's VPCs, in either direction.
    pub async fn peerings(&self) -> Result<Vec<VpcPeeringConnection>> {
        let mut peerings = ec2::peerings_of(&self.ec2, &self.requester).await?;
        peerings.extend(ec2::peerings_of(&self.ec2, &self.accepter).await?);
        Ok(peerings)
    }

    /// The reasons of the Events on the resource, oldest first.
    pub async fn events(&self) -> Result<Vec<String>> {
        let events =
            Api::<Event>::namespaced(self.client.clone(), &self.namespace).list(&ListParams::default()).await?;
        let mut events = events.items;
        events.sort_by_key(|event| event.event_time.as_ref().map(|time| time.0));
        Ok(events.into_iter().filter_map(|event| event.reason).collect())
    }

    /// The same, once these are among them: Events come some time after the status.
    pub async fn until_told(&self, reasons: &[&str]) -> Result<Vec<String>> {
        eventually("told in Events", LIMIT, async || {
            let events = self.events().await?;
            for reason in reasons {
                ensure!(events.iter().any(|event| event == reason), "{reason} is not in {events:?}");
            }
            Ok(events)
        })
        .await
        .with_context(|| self.log())
    }

    /// The tags that EC2 shows on a connection, those that name the owner left out.
    pub async fn users_tags(&self, id: &str) -> Result<BTreeMap<String, String>> {
        let peerings = self.peerings().await?;
        let connection = peerings.iter().find(|connection| connection.vpc_peering_connection_id() == Some(id));
        let tags = connection.context("no such connection")?.tags();
        let tags = tags.iter().filter_map(|tag| Some((tag.key()?.to_owned(), tag.value()?.to_owned())));
        Ok(tags.filter(|(key, _)| !key.starts_with("vpcpeering.dev/")).collect())
    }

    /// The connections that live.
    pub async fn living(&self) -> Result<Vec<VpcPeeringConnection>> {
        let ended = ["failed", "rejected", "expired", "deleted"];
        Ok(self.peerings().await?.into_iter().filter(|connection| !ended.contains(&ec2::code(connection))).collect())
    }

    pub fn log(&self) -> String {
        let log = std::fs::read_to_string(&self.operator.log).unwrap_or_default();
        let lines: Vec<_> = log.lines().collect();
        format!("the operator's log ends:\n{}", lines[lines.len().saturating_sub(40)..].join("\n"))
    }
}

pub fn condition<'a>(object: &'a VpcPeering, type_: &str) -> Option<&'a Condition> {
    object.status.as_ref()?.conditions.iter().find(|condition| condition.type_ == type_)
}

pub fn connection_id(object: &VpcPeering) -> Option<&str> {
    object.status.as_ref()?.vpc_peering_connection_id.as_deref()
}

pub fn status_code(object: &VpcPeering) -> Option<&str> {
    Some(object.status.as_ref()?.status.as_ref()?.code.as_str())
}
