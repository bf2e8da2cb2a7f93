//! A run of the checks in accounts that outlive it: AWS, or a simulated EC2 that is not reset. It records everything
//! that the checks make, tags the VPCs and route tables, and deletes everything after each check.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use aws_credential_types::Credentials;
use aws_sdk_ec2::Client;
use aws_sdk_ec2::config::interceptors::{
    AfterDeserializationInterceptorContextRef, BeforeSerializationInterceptorContextMut,
};
use aws_sdk_ec2::config::{ConfigBag, Intercept, RuntimeComponents, SharedHttpClient};
use aws_sdk_ec2::error::{BoxError, ProvideErrorMetadata, SdkError};
use aws_sdk_ec2::operation::create_route_table::{CreateRouteTableInput, CreateRouteTableOutput};
use aws_sdk_ec2::operation::create_vpc::{CreateVpcInput, CreateVpcOutput};
use aws_sdk_ec2::operation::create_vpc_peering_connection::CreateVpcPeeringConnectionOutput;
use aws_sdk_ec2::types::TagSpecification;
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
use aws_smithy_runtime_api::client::interceptors::dyn_dispatch_hint;

use crate::cloud::{Cloud, HERE, POLITE, code_of, tag, tags_of};

/// The key of the tag of every VPC and route table. A connection carries no such tag, because the checks compare its
/// tags. It joins VPCs that have the tag.
pub(crate) const TAG: &str = "vpc-peering-operator-contract";

/// The longest wait for the end of what depends on a VPC, before its deletion is given up.
const CLEANUP: Duration = Duration::from_secs(180);

/// A run, and what it has made.
pub(crate) struct Run {
    /// The value of the tag.
    id: String,
    regions: [String; 2],
    other: Credentials,
    http: SharedHttpClient,
    patience: Duration,
    made: Arc<Mutex<Vec<Made>>>,
}

/// A resource in AWS, and where it is.
#[derive(Clone, Debug)]
pub(crate) struct Made {
    kind: Kind,
    id: String,
    region: &'static str,
    credentials: Credentials,
}

/// In the order of deletion.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Connection,
    RouteTable,
    Vpc,
}

/// An HTTP client with TLS.
pub(crate) fn https() -> SharedHttpClient {
    let tls = Provider::Rustls(CryptoMode::Ring);
    aws_smithy_http_client::Builder::new().tls_provider(tls).build_https()
}

impl fmt::Debug for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Run").field("id", &self.id).field("regions", &self.regions).finish_non_exhaustive()
    }
}

impl Run {
    /// `other` are the credentials of the second account. `patience` is the longest wait for a status code.
    pub(crate) fn new(id: String, regions: [String; 2], other: Credentials, patience: Duration) -> Self {
        Self { id, regions, other, http: https(), patience, made: Arc::default() }
    }

    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    pub(crate) fn region(&self, name: &'static str) -> &str {
        &self.regions[usize::from(name != HERE)]
    }

    pub(crate) fn other(&self) -> Credentials {
        self.other.clone()
    }

    pub(crate) fn http(&self) -> SharedHttpClient {
        self.http.clone()
    }

    pub(crate) fn patience(&self) -> Duration {
        self.patience
    }

    /// An interceptor for the clients of one region with these credentials.
    pub(crate) fn recorder(&self, region: &'static str, credentials: Credentials) -> Recorder {
        Recorder { run: self.id.clone(), made: Arc::clone(&self.made), region, credentials }
    }

    /// Deletes everything that was made. Returns a description of what is left.
    pub(crate) async fn clean_up(&self, cloud: &Cloud) -> Vec<String> {
        let mut made = std::mem::take(&mut *self.made.lock().unwrap_or_else(PoisonError::into_inner));
        made.sort_by_key(|made| made.kind);
        let deadline = Instant::now() + CLEANUP.min(self.patience * 2);
        let mut left = Vec::new();
        for Made { kind, id, region, credentials } in made {
            let ec2 = cloud.ec2_as(region, credentials);
            loop {
                let refused = match kind {
                    Kind::Connection => {
                        code(ec2.delete_vpc_peering_connection().vpc_peering_connection_id(&id).send().await)
                    }
                    Kind::RouteTable => code(ec2.delete_route_table().route_table_id(&id).send().await),
                    Kind::Vpc => code(ec2.delete_vpc().vpc_id(&id).send().await),
                };
                let Some(refused) = refused.filter(|code| !code.ends_with(".NotFound")) else { break };
                if kind == Kind::Connection && has_ended(&ec2, &id).await {
                    break;
                }
                if Instant::now() > deadline {
                    left.push(format!("{id} in {}: {refused}", self.region(region)));
                    break;
                }
                tokio::time::sleep(if cloud.url.is_some() { POLITE / 20 } else { POLITE }).await;
            }
        }
        left
    }
}

/// The error code of a refused call.
fn code<T, E: ProvideErrorMetadata>(outcome: Result<T, SdkError<E>>) -> Option<String> {
    let error = outcome.err()?;
    let code = error.as_service_error().and_then(ProvideErrorMetadata::code);
    Some(code.unwrap_or("no answer").to_owned())
}

/// Whether EC2 refuses the deletion of a connection because it has ended. It also refuses it while the connection is
/// provisioning, which passes.
async fn has_ended(ec2: &Client, id: &str) -> bool {
    let all = ec2.describe_vpc_peering_connections().vpc_peering_connection_ids(id).send().await;
    let shown = all.ok().and_then(|all| all.vpc_peering_connections.unwrap_or_default().pop());
    let ended = ["failed", "rejected", "expired", "deleting", "deleted"];
    shown.is_some_and(|shown| ended.contains(&code_of(&shown)))
}

/// Tags and records what a client makes.
#[derive(Debug)]
pub(crate) struct Recorder {
    run: String,
    made: Arc<Mutex<Vec<Made>>>,
    region: &'static str,
    credentials: Credentials,
}

impl Recorder {
    fn tags(&self, kind: &str, own: &mut Option<Vec<TagSpecification>>) {
        let own = own.get_or_insert_default();
        match own.first_mut() {
            Some(first) => {
                let tags = first.tags().iter().cloned().chain([tag(TAG, &self.run)]);
                *first = tags_of(kind, tags);
            }
            None => own.push(tags_of(kind, [tag(TAG, &self.run)])),
        }
    }
}

#[dyn_dispatch_hint]
impl Intercept for Recorder {
    fn name(&self) -> &'static str {
        "Recorder"
    }

    fn modify_before_serialization(
        &self,
        context: &mut BeforeSerializationInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let input = context.input_mut();
        if let Some(input) = input.downcast_mut::<CreateVpcInput>() {
            self.tags("vpc", &mut input.tag_specifications);
        } else if let Some(input) = input.downcast_mut::<CreateRouteTableInput>() {
            self.tags("route-table", &mut input.tag_specifications);
        }
        Ok(())
    }

    fn read_after_deserialization(
        &self,
        context: &AfterDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let Ok(output) = context.output_or_error() else { return Ok(()) };
        let made = if let Some(made) = output.downcast_ref::<CreateVpcOutput>() {
            made.vpc().and_then(|vpc| vpc.vpc_id()).map(|id| (Kind::Vpc, id))
        } else if let Some(made) = output.downcast_ref::<CreateRouteTableOutput>() {
            made.route_table().and_then(|table| table.route_table_id()).map(|id| (Kind::RouteTable, id))
        } else if let Some(made) = output.downcast_ref::<CreateVpcPeeringConnectionOutput>() {
            made.vpc_peering_connection()
                .and_then(|one| one.vpc_peering_connection_id())
                .map(|id| (Kind::Connection, id))
        } else {
            None
        };
        let Some((kind, id)) = made else { return Ok(()) };
        println!("    made {id}");
        let made = Made { kind, id: id.to_owned(), region: self.region, credentials: self.credentials.clone() };
        self.made.lock().unwrap_or_else(PoisonError::into_inner).push(made);
        Ok(())
    }
}
