//! AWS's quotas on peering connections and routes. A call that would exceed one is held back.
//! <https://docs.aws.amazon.com/vpc/latest/userguide/amazon-vpc-limits.html#vpc-limits-peering>

use std::collections::HashMap;

use super::connection::Connection;
use super::routes::RouteTables;
use super::snapshot::{Snapshot, vpcs};

/// The largest quota of active connections per VPC that AWS grants.
const MAX_ACTIVE_PER_VPC: usize = 125;

/// The largest quota of routes per route table that AWS grants.
/// <https://docs.aws.amazon.com/vpc/latest/userguide/amazon-vpc-limits.html#vpc-limits-route-tables>
const MAX_ROUTES_PER_TABLE: usize = 1_000;

/// A quota that the operator looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum QuotaKind {
    /// The active connections of one VPC.
    ActivePerVpc,
    /// The requests of one account in one region that nobody has accepted yet.
    Outstanding,
    /// The routes of one route table that are neither local nor propagated, for IPv4 and IPv6 apart.
    RoutesPerTable,
}

/// The value of a quota.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Quota {
    pub limit: usize,
    /// Whether AWS has told the account's own value. Otherwise it is the default, which an account may exceed.
    pub is_confirmed: bool,
}

/// The quotas of one account in one region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Quotas {
    pub active_per_vpc: Quota,
    pub outstanding: Quota,
    pub routes_per_table: Quota,
}

/// A quota of which nothing is left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Shortage(pub String);

impl QuotaKind {
    pub(crate) const ALL: [Self; 3] = [Self::ActivePerVpc, Self::Outstanding, Self::RoutesPerTable];

    /// The use of this quota, for a VPC or a route table that of the fullest one.
    pub(crate) fn most_used(self, snapshot: &Snapshot, tables: &RouteTables, account: &str, region: &str) -> usize {
        match self {
            Self::RoutesPerTable => tables.all().map(|table| table.most_routes()).max().unwrap_or_default(),
            Self::ActivePerVpc => {
                let mut active = HashMap::<&str, usize>::new();
                let accepted = snapshot.connections().filter(|connection| connection.code.is_accepted());
                accepted.flat_map(|one| vpcs(one)).flatten().for_each(|vpc| *active.entry(vpc).or_default() += 1);
                active.into_values().max().unwrap_or_default()
            }
            Self::Outstanding => snapshot.outstanding_of(account, region),
        }
    }

    /// The quota code in Service Quotas, for the service `vpc`.
    /// <https://docs.aws.amazon.com/general/latest/gr/vpc-service.html>
    pub(crate) fn code(self) -> &'static str {
        match self {
            Self::ActivePerVpc => "L-7E9ECCDB",
            Self::Outstanding => "L-DC9F7029",
            Self::RoutesPerTable => "L-93826ACB",
        }
    }

    /// The label value in metrics.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::ActivePerVpc => "active_per_vpc",
            Self::Outstanding => "outstanding",
            Self::RoutesPerTable => "routes_per_table",
        }
    }
}

impl Default for Quotas {
    fn default() -> Self {
        let default = |limit| Quota { limit, is_confirmed: false };
        Self { active_per_vpc: default(50), outstanding: default(25), routes_per_table: default(500) }
    }
}

impl Quotas {
    pub(crate) fn get(&self, kind: QuotaKind) -> Quota {
        match kind {
            QuotaKind::ActivePerVpc => self.active_per_vpc,
            QuotaKind::Outstanding => self.outstanding,
            QuotaKind::RoutesPerTable => self.routes_per_table,
        }
    }

    pub(crate) fn set(&mut self, kind: QuotaKind, limit: usize) {
        let quota = match kind {
            QuotaKind::ActivePerVpc => &mut self.active_per_vpc,
            QuotaKind::Outstanding => &mut self.outstanding,
            QuotaKind::RoutesPerTable => &mut self.routes_per_table,
        };
        *quota = Quota { limit, is_confirmed: true };
    }
}

impl Quota {
    /// The limit that holds beside this use. More active connections or routes than the default prove that AWS has
    /// raised the quota.
    pub(crate) fn limit_beside(self, kind: QuotaKind, used: usize) -> usize {
        match kind {
            QuotaKind::ActivePerVpc if used > self.limit && !self.is_confirmed => MAX_ACTIVE_PER_VPC,
            QuotaKind::RoutesPerTable if used > self.limit && !self.is_confirmed => MAX_ROUTES_PER_TABLE,
            QuotaKind::ActivePerVpc | QuotaKind::Outstanding | QuotaKind::RoutesPerTable => self.limit,
        }
    }
}

/// The number of active connections of a VPC.
pub(crate) fn active(snapshot: &Snapshot, vpc_id: &str) -> usize {
    snapshot.of(vpc_id).filter(|connection| connection.code.is_accepted()).count()
}

/// The number of requests that a VPC has made, which need room in it when they are accepted. Requests to the VPC do not
/// count: anybody can send them.
pub(crate) fn requested(snapshot: &Snapshot, vpc_id: &str) -> usize {
    snapshot.of(vpc_id).filter(|connection| is_request_by(connection, vpc_id)).count()
}

/// Whether [`active`] or [`requested`] counts this connection.
pub(crate) fn is_counted(snapshot: &Snapshot, id: &str, vpc_id: &str) -> bool {
    let shown = snapshot.get(id);
    shown.is_some_and(|connection| connection.code.is_accepted() || is_request_by(connection, vpc_id))
}

fn is_request_by(connection: &Connection, vpc_id: &str) -> bool {
    connection.code.is_outstanding() && connection.requester.vpc_id.as_deref() == Some(vpc_id)
}

/// Checks that a VPC has room for one more connection beside its active ones and those that are coming. Returns a warning
/// if little is left.
pub(crate) fn active_room(
    (active, coming): (usize, usize),
    quota: Quota,
    vpc_id: &str,
    region: &str,
) -> Result<Option<String>, Shortage> {
    let holder = format!("{vpc_id} in {region}");
    let quota = Quota { limit: quota.limit_beside(QuotaKind::ActivePerVpc, active), ..quota };
    room(QuotaKind::ActivePerVpc, active + coming, quota, &holder, "active peering connections", "delete a connection")
}

/// Checks that an account has room for one more request beside `used`. Returns a warning if little is left.
pub(crate) fn outstanding_room(
    used: usize,
    quota: Quota,
    account: &str,
    region: &str,
) -> Result<Option<String>, Shortage> {
    let holder = format!("account {account} in {region}");
    let remedy = "have requests accepted or rejected, delete some";
    room(QuotaKind::Outstanding, used, quota, &holder, "peering requests that nobody has accepted", remedy)
}

/// The shortage after EC2 has refused a request because of a quota, although room seemed to be left.
pub(crate) fn refused(account: &str, region: &str) -> Shortage {
    Shortage(format!(
        "EC2 refused a request of account {account} in {region} because a quota is used up; the next one follows after a pause"
    ))
}

fn room(
    kind: QuotaKind,
    used: usize,
    quota: Quota,
    holder: &str,
    counted: &str,
    remedy: &str,
) -> Result<Option<String>, Shortage> {
    let (limit, code) = (quota.limit, kind.code());
    if used < limit {
        // At least 90% are in use.
        let is_near = used * 10 >= limit * 9;
        return Ok(is_near.then(|| format!("{holder} has {used} {counted}; the quota is {limit} ({code})")));
    }
    let source = if quota.is_confirmed {
        ""
    } else {
        ", the default: servicequotas:GetServiceQuota has not told the account's value"
    };
    Err(Shortage(format!(
        "{holder} may have {limit} {counted} (quota {code}{source}), and has them; {remedy}, or request a higher quota from AWS"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peering::connection::StatusCode;
    use crate::peering::routes::{Route, RouteTable, Target};
    use crate::peering::testing::connection;

    const OWN: &str = "111111111111";

    fn request(id: usize, code: StatusCode) -> Connection {
        let mut request = Connection { id: format!("pcx-{id:017x}"), ..connection(code) };
        request.requester.owner_id = Some(OWN.into());
        request
    }

    #[test]
    fn requests_of_the_account_count_as_outstanding_until_they_are_accepted() {
        let mut foreign = request(0, StatusCode::PendingAcceptance);
        foreign.requester.owner_id = Some("222222222222".into());
        let codes = [StatusCode::InitiatingRequest, StatusCode::PendingAcceptance, StatusCode::Active];
        let own = codes.into_iter().zip(1..).map(|(code, id)| request(id, code));
        let snapshot: Snapshot = own.chain([foreign]).collect();
        let region = connection(StatusCode::Active).requester.region.unwrap_or_default();
        assert_eq!(snapshot.outstanding_of(OWN, &region), 2);
    }

    #[test]
    fn requests_by_a_vpc_need_room_in_it_and_requests_to_it_do_not() {
        let codes = [StatusCode::PendingAcceptance, StatusCode::Active, StatusCode::Provisioning, StatusCode::Deleted];
        let snapshot: Snapshot = codes.into_iter().zip(1..).map(|(code, id)| request(id, code)).collect();
        let connection = connection(StatusCode::Active);
        let [requester, accepter] =
            [connection.requester.vpc_id, connection.accepter.vpc_id].map(Option::unwrap_or_default);
        assert_eq!((active(&snapshot, &requester), requested(&snapshot, &requester)), (2, 1));
        assert_eq!((active(&snapshot, &accepter), requested(&snapshot, &accepter)), (2, 0));
        let counted = |vpc_id: &str| -> Vec<_> {
            snapshot.connections().map(|connection| is_counted(&snapshot, &connection.id, vpc_id)).collect()
        };
        assert_eq!(counted(&requester), [true, true, true, false]);
        assert_eq!(counted(&accepter), [false, true, true, false]);
        assert!(!is_counted(&snapshot, "pcx-unknown", &requester));
    }

    #[test]
    fn the_use_of_a_quota_is_that_of_the_fullest_vpc_or_route_table() {
        let mut to_another = request(2, StatusCode::Provisioning);
        to_another.accepter.vpc_id = Some("vpc-33333333".into());
        let pending = request(3, StatusCode::PendingAcceptance);
        let snapshot: Snapshot = [request(1, StatusCode::Active), to_another, pending].into_iter().collect();
        let table = |id: &str, destinations: &[&str]| {
            let parsed = destinations.iter().filter_map(|destination| destination.parse().ok());
            let target = Target::Other("igw-1".into());
            let routes = parsed.map(|destination| Route { destination, target: target.clone(), is_blackhole: false });
            RouteTable { id: id.into(), routes: routes.collect(), ..RouteTable::default() }
        };
        // IPv4 and IPv6 count apart.
        let fullest = table("rtb-1", &["10.1.0.0/16", "10.2.0.0/16", "10.3.0.0/16", "2001:db8::/56"]);
        let tables = [fullest, table("rtb-2", &["10.1.0.0/16"])].into_iter().collect();
        let used = QuotaKind::ALL.map(|kind| kind.most_used(&snapshot, &tables, OWN, "eu-central-1"));
        assert_eq!(used, [2, 1, 3]);
    }

    #[test]
    fn each_quota_has_a_code_and_a_metric_label_of_its_own() {
        let codes = std::collections::HashSet::from(QuotaKind::ALL.map(QuotaKind::code));
        let labels = std::collections::HashSet::from(QuotaKind::ALL.map(QuotaKind::label));
        assert_eq!((codes.len(), labels.len()), (3, 3));
    }

    #[test]
    fn a_quota_that_is_used_up_is_a_shortage() {
        let Quotas { active_per_vpc, outstanding, .. } = Quotas::default();
        let of_vpc = |active| active_room((active, 0), active_per_vpc, "vpc-1", "eu-central-1");
        let is_short = [49, 50, 51, 124, 125].map(|used| of_vpc(used).is_err());
        assert_eq!(is_short, [false, true, false, false, true], "51 prove that AWS has raised the quota");
        assert!(active_room((40, 11), active_per_vpc, "vpc-1", "eu-central-1").is_err(), "requests prove nothing");
        let of_account = |used| outstanding_room(used, outstanding, OWN, "eu-central-1");
        assert_eq!([24, 25, 26].map(|used| of_account(used).is_err()), [false, true, true]);
        let warns = |room: Result<Option<String>, Shortage>| room.is_ok_and(|warning| warning.is_some());
        assert_eq!([44, 45].map(|used| warns(of_vpc(used))), [false, true]);
        assert_eq!([22, 23].map(|used| warns(of_account(used))), [false, true]);
    }

    #[test]
    fn a_quota_that_aws_has_confirmed_replaces_the_default() {
        let mut raised = Quotas::default();
        raised.set(QuotaKind::Outstanding, 100);
        let of_account = |used| outstanding_room(used, raised.outstanding, OWN, "eu-central-1");
        assert!(of_account(99).is_ok());
        let message = of_account(100).err().map(|Shortage(message)| message).unwrap_or_default();
        assert!(message.contains("100 peering") && !message.contains("default"), "{message}");
    }
}
