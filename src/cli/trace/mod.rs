//! `vpc-peering-operator trace`: why a resource is not ready, or why no packet arrives. It only reads.

mod actors;
mod hop;
mod line;
mod look;
mod path;
mod report;
mod resource;
mod routes;
mod target;
#[cfg(test)]
mod tests;
mod vpcs;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::{Args, ValueEnum};
use ipnet::IpNet;
use k8s_openapi::api::core::v1::Namespace;
use kube::{Api, Client};

use self::actors::{End, Known};
use self::hop::{Hop, Way};
use self::line::{Line, Subject};
use self::look::{PathView, View};
use self::report::Report;
use super::kubernetes::KubeArgs;
use super::output::{OutputArgs, Progress};
use super::{Outcome, accounts};
use crate::api::{AwsIdentity, Side, VpcPeering};
use crate::aws::{Account, Accounts, Principal, SessionTags};
use crate::operator::cluster_uid;
use crate::peering::network::{Flow, Protocol};
use crate::peering::{Connection, StatusCode};

/// Explains why a VpcPeering is not ready, or why no packet arrives.
///
/// Each line is one step from the resource to the packet, with the remedy if it fails. With --from and --to, the
/// routes, network ACLs and security groups at both ends are evaluated for a packet and its reply. Reads the API server
/// and AWS, and changes nothing. The AWS permissions are in deploy/iam/trace.json.
#[derive(Debug, Args)]
pub(crate) struct Trace {
    /// The VpcPeering. Without a namespace, that of --namespace or of the context is used.
    #[arg(value_name = "NAMESPACE/NAME")]
    resource: String,

    /// The address of the client, in either VPC.
    #[arg(long, value_name = "IP", requires = "to")]
    from: Option<String>,

    /// The address of the server, in the other VPC. Without a port, any port will do.
    #[arg(long, value_name = "IP[:PORT]", requires = "from")]
    to: Option<String>,

    /// The protocol. icmp is a ping.
    #[arg(long, value_enum, default_value_t)]
    protocol: ProtocolName,

    /// The ID of this cluster in the ownership tags. Defaults to the UID of the namespace kube-system.
    #[arg(long, env = "CLUSTER_ID")]
    cluster_id: Option<String>,

    /// The operator adds no session tags to the sessions of AwsIdentity roles.
    #[arg(long, env = "DISABLE_SESSION_TAGS")]
    disable_session_tags: bool,

    #[command(flatten)]
    output: OutputArgs,

    #[command(flatten)]
    kube: KubeArgs,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum ProtocolName {
    #[default]
    Tcp,
    Udp,
    Icmp,
}

impl From<ProtocolName> for Protocol {
    fn from(name: ProtocolName) -> Self {
        match name {
            ProtocolName::Tcp => Self::Tcp,
            ProtocolName::Udp => Self::Udp,
            ProtocolName::Icmp => Self::Icmp,
        }
    }
}

impl Trace {
    pub(super) fn execute(self) -> anyhow::Result<Outcome> {
        let flow = match (&self.from, &self.to) {
            (Some(from), Some(to)) => Some(target::flow(from, to, self.protocol.into())?),
            _ => None,
        };
        let report = super::block_on(self.trace(flow))??;
        self.output.print(&report)?;
        Ok(if report.ok { Outcome::Success } else { Outcome::Failure })
    }

    async fn trace(&self, flow: Option<Flow>) -> anyhow::Result<Report> {
        let progress = Progress::start();
        let client = self.kube.connect().await?;
        let default_namespace = client.default_namespace().to_owned();
        let (namespace, name) = target::resource(&self.resource, &default_namespace)?;
        progress.show("reading the resource…");
        let object = read(&client, namespace, name).await?;
        progress.show("asking AWS…");
        let accounts = self.accounts(&client).await?;
        let known = known(&client, &object, &accounts).await;
        let (mut ends, identities) = actors::resolve(&object, &known);
        let mut lines = vec![resource::of_resource(&object)];
        lines.extend(identities);
        let actors = assume(&accounts, &mut ends, &mut lines).await;
        let id = resource::id(&object);
        let views = look(&actors, &ends, id, vpcs::wants_dns(&object)).await;
        let seen = Seen { object: &object, ends: &ends, views, actors };
        seen.judge(flow, &mut lines).await?;
        Ok(Report::new(format!("{namespace}/{name}"), id.map(str::to_owned), flow.as_ref(), lines))
    }

    async fn accounts(&self, client: &Client) -> anyhow::Result<Accounts> {
        let cluster = match self.cluster_id.clone().filter(|id| !id.is_empty()) {
            Some(id) => id,
            None => cluster_uid(client.clone()).await.unwrap_or_default(),
        };
        let tags = SessionTags::from_flag(self.disable_session_tags);
        accounts::start(tags, cluster, Duration::MAX).await
    }
}

async fn read(client: &Client, namespace: &str, name: &str) -> anyhow::Result<VpcPeering> {
    let found = Api::<VpcPeering>::namespaced(client.clone(), namespace).get_opt(name).await;
    let found = found.with_context(|| {
        format!("cannot read the VpcPeering {namespace}/{name}; check --context and your rights in the namespace")
    })?;
    let Some(object) = found else {
        bail!("there is no VpcPeering {name} in the namespace {namespace}; list them with kubectl get vpcpeerings -A");
    };
    Ok(object)
}

/// Reads the identities that the resource names, and the account of the own credentials if they may act.
async fn known(client: &Client, object: &VpcPeering, accounts: &Accounts) -> Known {
    let mut known = Known::default();
    for name in Side::BOTH.into_iter().filter_map(|side| actors::named(object, side)) {
        let found = Api::<AwsIdentity>::all(client.clone()).get_opt(name).await;
        known.identities.insert(name.to_owned(), found.map_err(|error| error.to_string()));
    }
    let allowed = known.identities.values().flatten().flatten().filter_map(|one| one.spec.allowed_namespaces.as_ref());
    if allowed.into_iter().any(|allowed| allowed.selector.is_some()) {
        let namespace = object.metadata.namespace.as_deref().unwrap_or_default();
        let found = Api::<Namespace>::all(client.clone()).get_metadata(namespace).await.ok();
        known.labels = found.map(|namespace| namespace.metadata.labels.unwrap_or_default());
    }
    if Side::BOTH.into_iter().any(|side| actors::named(object, side).is_none()) {
        known.own_account = accounts.own().id().await.ok();
    }
    known
}

/// The accounts that act, by end. An end whose credentials AWS refuses gets a line, and nobody acts for it.
async fn assume(accounts: &Accounts, ends: &mut [End; 2], lines: &mut Vec<Line>) -> [Option<Arc<Account>>; 2] {
    let mut actors = [None, None];
    for (end, actor) in ends.iter_mut().zip(&mut actors) {
        let Some(principal) = &end.principal else { continue };
        let account = accounts.of(principal);
        let refused = match (account.caller_identity().await, principal) {
            (Ok(caller), Principal::Role(role)) if caller.account_id != role.account_id => {
                let message = format!("{} does not belong to account {}", caller.arn, role.account_id);
                Some(Line::fail(
                    Subject::Identity,
                    message,
                    "correct spec.accountId or spec.roleArn of the AwsIdentity",
                ))
            }
            (Ok(_), _) => None,
            (Err(error), _) => {
                let remedy =
                    "check these credentials, and for a role its trust policy and externalId: kubectl pcx check";
                Some(Line::fail(Subject::Identity, error.to_string(), remedy))
            }
        };
        match refused {
            None => *actor = Some(account),
            Some(line) => {
                lines.push(line.at(end.side));
                end.principal = None;
            }
        }
    }
    actors
}

async fn look(
    actors: &[Option<Arc<Account>>; 2],
    ends: &[End; 2],
    id: Option<&str>,
    needs_dns: bool,
) -> [Option<View>; 2] {
    let look = async |index: usize| {
        let (account, place) = (actors[index].as_ref()?, ends[index].place()?);
        Some(look::look(account, ends[index].side, place, id, needs_dns).await)
    };
    let (requester, accepter) = tokio::join!(look(0), look(1));
    [requester, accepter]
}

/// Everything that was read.
struct Seen<'a> {
    object: &'a VpcPeering,
    ends: &'a [End; 2],
    views: [Option<View>; 2],
    actors: [Option<Arc<Account>>; 2],
}

impl Seen<'_> {
    /// Adds the lines on AWS.
    ///
    /// # Errors
    /// If an address of the flow is in neither VPC.
    async fn judge(&self, flow: Option<Flow>, lines: &mut Vec<Line>) -> anyhow::Result<()> {
        let connection = self.connection();
        let blocks = [0, 1].map(|index| self.blocks(index, connection));
        let sides = flow.map(|flow| sides(&flow, &blocks, self.ends)).transpose()?;
        let mut paths = [None, None];
        if let (Some(flow), Some(sides)) = (flow, sides) {
            let addresses = if sides == [0, 1] { [flow.from, flow.to] } else { [flow.to, flow.from] };
            let (one, other) = tokio::join!(self.follow(0, addresses[0]), self.follow(1, addresses[1]));
            paths = [one, other];
        }
        lines.extend([0, 1].into_iter().filter_map(|index| self.permissions(index, paths[index].as_ref())));
        for (view, end) in self.views.iter().zip(self.ends) {
            lines.extend(view.as_ref().and_then(|view| vpcs::existence(view, end.account.as_deref())));
        }
        lines.extend(vpcs::overlap([&blocks[0], &blocks[1]]));
        let ids = [0, 1].map(|index| self.ends[index].vpc_id.as_deref());
        let is_readable = self.views.iter().flatten().any(|view| view.connection.is_ok());
        if is_readable || resource::id(self.object).is_none() {
            lines.extend(resource::of_connection(self.object, connection, ids));
        }
        lines.extend(vpcs::dns(self.object, &self.views, connection));
        let Some(id) = resource::id(self.object) else { return Ok(()) };
        let is_active = connection.is_some_and(|connection| connection.code == StatusCode::Active);
        let has_routes = Side::BOTH.map(|side| self.object.spec.side(side).routes.is_some());
        let way = Way { connection: id, is_active, has_routes };
        match (flow, sides) {
            (Some(flow), Some([from, to])) => {
                let hop = |index: usize, address: IpAddr| Hop {
                    side: self.ends[index].side,
                    address,
                    blocks: &blocks[index],
                    parts: self.views[index].as_ref().zip(paths[index].as_ref()),
                };
                lines.extend(path::lines(&flow, hop(from, flow.from), hop(to, flow.to), way));
            }
            _ => lines.extend(
                [0, 1]
                    .into_iter()
                    .filter_map(|index| routes::overview(self.views[index].as_ref()?, &blocks[1 - index], way)),
            ),
        }
        Ok(())
    }

    /// EC2's view of the connection, of the requester if it could be read.
    fn connection(&self) -> Option<&Connection> {
        self.views.iter().flatten().find_map(|view| view.connection.as_ref().ok()?.as_ref())
    }

    fn blocks(&self, index: usize, connection: Option<&Connection>) -> Vec<IpNet> {
        let vpc = self.views[index].as_ref().and_then(|view| view.vpc.as_ref().ok()?.as_ref());
        let shown = connection.map(|connection| [&connection.requester, &connection.accepter][index]);
        vpcs::blocks(vpc, shown)
    }

    async fn follow(&self, index: usize, address: IpAddr) -> Option<PathView> {
        let (view, account) = (self.views[index].as_ref()?, self.actors[index].as_ref()?);
        Some(view.follow(account, address).await)
    }

    fn permissions(&self, index: usize, path: Option<&PathView>) -> Option<Line> {
        let (view, account) = (self.views[index].as_ref()?, self.actors[index].as_ref()?);
        let errors: Vec<_> = view.errors().into_iter().chain(path.into_iter().flat_map(PathView::errors)).collect();
        Some(look::permissions(account, view.side, &errors))
    }
}

/// The indexes of the ends with the client and with the server. An end whose blocks are not known may have any address.
fn sides(flow: &Flow, blocks: &[Vec<IpNet>; 2], ends: &[End; 2]) -> anyhow::Result<[usize; 2]> {
    let has = |index: usize, address: IpAddr| blocks[index].iter().any(|block: &IpNet| block.contains(&address));
    let may_have = |index: usize, address| blocks[index].is_empty() || has(index, address);
    let fits = |[from, to]: &[usize; 2]| may_have(*from, flow.from) && may_have(*to, flow.to);
    // An end that certainly has an address comes first.
    let ways = if has(1, flow.from) || has(0, flow.to) { [[1, 0], [0, 1]] } else { [[0, 1], [1, 0]] };
    if let Some(way) = ways.into_iter().find(fits) {
        return Ok(way);
    }
    let of = |index: usize| {
        let list = blocks[index].iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        format!("{} has {list}", ends[index].vpc_id.as_deref().unwrap_or("the other VPC"))
    };
    let known: BTreeMap<_, _> = [("--from", flow.from), ("--to", flow.to)].into();
    let stranger = known.iter().find(|(_, address)| !(0..2).any(|index| may_have(index, **address)));
    match stranger {
        Some((flag, address)) => bail!("{flag} {address} is in neither VPC: {} and {}; correct {flag}", of(0), of(1)),
        None => bail!(
            "--from {} and --to {} are in one VPC; name an address of each VPC: {} and {}",
            flow.from,
            flow.to,
            of(0),
            of(1)
        ),
    }
}
