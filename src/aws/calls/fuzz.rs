//! Fuzzing of the answers of EC2, through the parser of the SDK. The decision on the peerings that they show must not
//! act on a connection between other VPCs.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_config::{BehaviorVersion, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_smithy_runtime_api::client::http::{HttpConnector, HttpConnectorFuture, SharedHttpConnector, http_client_fn};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_types::body::SdkBody;
use k8s_openapi::jiff::Timestamp;
use tokio::runtime::Builder;

use crate::api::{ManagementPolicy, Ownership, VpcPeeringSpec};
use crate::aws::ec2::Ec2;
use crate::aws::error::AwsError;
use crate::aws::inventory::view::View;
use crate::aws::{Principal, Unobserved};
use crate::fuzzing::{self, Verdict};
use crate::peering::plan::Step as _;
use crate::peering::routes::{Destination, Route, RouteTables, Subnets};
use crate::peering::vpc_peering::{AccepterView, Desired, Observation, Recorded, Step, decide};
use crate::peering::{Connection, CreateRequest, Plan, Settings, Snapshot, testing};

const REGION: &str = "eu-central-1";

/// Answers every request with the same text.
#[derive(Clone, Default)]
struct Canned(Arc<Mutex<Vec<u8>>>);

impl fmt::Debug for Canned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Canned")
    }
}

impl HttpConnector for Canned {
    fn call(&self, _: HttpRequest) -> HttpConnectorFuture {
        let body = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let is_error = body.windows(8).any(|part| part == b"<Errors>");
        let status: u16 = if is_error { 400 } else { 200 };
        let status = status.try_into().unwrap_or_else(|_| panic!("not a status"));
        HttpConnectorFuture::ready(Ok(HttpResponse::new(status, SdkBody::from(body))))
    }
}

fn ec2(canned: &Canned) -> Ec2 {
    let connector = SharedHttpConnector::new(canned.clone());
    let config = SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .credentials_provider(SharedCredentialsProvider::new(Credentials::new("test", "test", None, None, "test")))
        .endpoint_url("http://127.0.0.1:1")
        .http_client(http_client_fn(move |_, _| connector.clone()))
        .build();
    Ec2::new(Principal::Own, config, Arc::new(Unobserved), Arc::default())
}

#[test]
fn fuzz_ec2_answers() {
    let runtime = Builder::new_current_thread().enable_all().start_paused(true).build();
    let runtime = runtime.unwrap_or_else(|error| panic!("{error}"));
    let canned = Canned::default();
    let ec2 = ec2(&canned);
    fuzzing::run("ec2-answers", None, |input| {
        *canned.0.lock().unwrap_or_else(PoisonError::into_inner) = input.to_vec();
        let has = |text: &str| input.windows(text.len()).any(|part| part == text.as_bytes());
        let items = input.windows(6).filter(|part| part == b"<item>").count();
        runtime.block_on(async {
            if has("<DescribeRouteTables") {
                let page = RouteTables::page(&ec2, REGION, None, None).await;
                return answered(page, |page| tables(page.items, items));
            }
            if has("<DescribeSubnets") {
                let page = Subnets::page(&ec2, REGION, None, None).await;
                return answered(page, |page| bounded(page.items.len(), items));
            }
            if has("<DescribeVpcsR") {
                let vpcs = ec2.describe_vpcs(REGION, ["vpc-11111111".to_owned()]).await;
                return answered(vpcs, |vpcs| bounded(vpcs.len(), items));
            }
            if has("<DescribeVpcAttribute") {
                return answered(ec2.dns_attributes(REGION, "vpc-11111111").await, |_| Ok(()));
            }
            if has("<CreateVpcPeering") {
                return answered(ec2.create_vpc_peering_connection(&request()).await, |made| peerings(vec![made]));
            }
            let page = Snapshot::page(&ec2, REGION, None, None).await;
            answered(page, |page| bounded(page.items.len(), items).and_then(|()| peerings(page.items)))
        })
    });
}

fn request() -> CreateRequest {
    CreateRequest {
        region: REGION.into(),
        vpc_id: "vpc-11111111".into(),
        peer_vpc_id: "vpc-22222222".into(),
        peer_owner_id: None,
        peer_region: None,
        tags: BTreeMap::new(),
    }
}

/// An error needs a text.
fn answered<T>(answer: Result<T, AwsError>, check: impl FnOnce(T) -> Verdict) -> Verdict {
    match answer {
        Ok(answer) => check(answer),
        Err(error) if error.to_string().is_empty() => Err("an error without a text".into()),
        Err(_) => Ok(()),
    }
}

fn bounded(read: usize, items: usize) -> Verdict {
    if read <= items { Ok(()) } else { Err(format!("{read} read from {items} items")) }
}

fn tables(tables: Vec<crate::peering::routes::RouteTable>, items: usize) -> Verdict {
    let count = tables.len() + tables.iter().map(|table| table.routes.len()).sum::<usize>();
    let has_host_bits =
        |route: &&Route| matches!(&route.destination, Destination::Cidr(block) if block.trunc() != *block);
    if let Some(route) = tables.iter().flat_map(|table| &table.routes).find(has_host_bits) {
        return Err(format!("a destination with host bits: {route:?}"));
    }
    bounded(count, items)
}

fn peerings(connections: Vec<Connection>) -> Verdict {
    let cluster = "cluster".into();
    let known = Snapshot::default();
    let snapshot: Snapshot = connections.into_iter().map(|connection| known.share(connection, &cluster)).collect();
    if !snapshot.changes_since(&snapshot).is_empty() {
        return Err("a listing has changed since itself".into());
    }
    if snapshot.transient("cluster").count() > snapshot.len() {
        return Err("more transient connections than connections".into());
    }
    let owner = testing::owner();
    for connection in snapshot.connections() {
        if snapshot.get(&connection.id).is_none() {
            return Err(format!("{:?} is not found by its ID", connection.id));
        }
        let shown = Observation {
            recorded: Some(Arc::clone(connection)),
            owned: snapshot.owned_by(&owner.uid).cloned().collect(),
            orphaned: snapshot.owned_by_namesakes(&owner).cloned().collect(),
            accepter: AccepterView::Same,
            missing_for: Duration::from_secs(3_600),
            ..Observation::default()
        };
        for deleted in [false, true] {
            acts_on_own(&snapshot, connection, &shown, deleted)?;
        }
    }
    Ok(())
}

/// The decision of a resource that records the connection as its own.
fn acts_on_own(snapshot: &Snapshot, connection: &Connection, shown: &Observation, deleted: bool) -> Verdict {
    let settings = Settings {
        consistency_window: Duration::from_secs(60),
        recreation_pause: Duration::from_secs(60),
        is_cluster_unique: true,
    };
    let spec = VpcPeeringSpec { management_policy: ManagementPolicy::Full, ..testing::spec() };
    let desired = Desired {
        owner: &testing::owner(),
        spec: &spec,
        ends: &testing::ends(),
        permissions: &testing::permissions(),
        defaults: &testing::defaults(),
        is_cluster_unique: true,
        deleted,
        finalizer: true,
        reconcile_requested: false,
        reconcile_at: None,
        generation: 1,
        status: None,
    };
    let recorded = Recorded {
        connection_id: Some(connection.id.clone()),
        ownership: Some(Ownership::Owned),
        ..Recorded::default()
    };
    let plan = decide(desired, &recorded, shown, Timestamp::UNIX_EPOCH, settings).plan;
    let Plan::Act(step) = plan else { return Ok(()) };
    let id = match &step {
        Step::Accept { id, .. } | Step::Delete { id } | Step::DeleteOrphan { id } => Some(id),
        Step::Upkeep { step, .. } => step.connection_id(),
        _ => None,
    };
    let Some(id) = id else { return Ok(()) };
    let is_own = |connection: &Arc<Connection>| {
        let ends = [&connection.requester.vpc_id, &connection.accepter.vpc_id].map(|vpc| vpc.as_deref());
        ends == [Some("vpc-11111111"), Some("vpc-22222222")]
    };
    let vpcs: BTreeSet<_> = snapshot.get(id.as_str()).into_iter().map(is_own).collect();
    if vpcs == [true].into() { Ok(()) } else { Err(format!("{}, although it is of other VPCs", step.summary())) }
}
