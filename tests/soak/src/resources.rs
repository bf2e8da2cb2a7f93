//! The resources of the test: their ends, and their manifests. Everything follows from the number of a resource, so that
//! a seed replays the same run.

use serde_json::{Value, json};

/// The operator's own account, and those of its two identities.
pub const OWN: &str = "111111111111";
pub const LEFT: &str = "222222222222";
pub const RIGHT: &str = "333333333333";
/// An account whose requests are accepted, and one whose requests are not.
pub const FRIEND: &str = "444444444444";
pub const ENEMY: &str = "555555555555";
/// All accounts.
pub const ACCOUNTS: [&str; 5] = [OWN, LEFT, RIGHT, FRIEND, ENEMY];

pub const REGION: &str = "eu-central-1";
pub const OTHER_REGION: &str = "us-west-2";

/// The namespaces with own credentials, with both identities, with a permission that comes and goes, without any
/// permission, and the one that is deleted.
pub const TEAM_A: &str = "team-a";
pub const TEAM_B: &str = "team-b";
pub const TEAM_C: &str = "team-c";
pub const STRANGER: &str = "stranger";
pub const DOOMED: &str = "doomed";
/// All namespaces.
pub const NAMESPACES: [&str; 5] = [TEAM_A, TEAM_B, TEAM_C, STRANGER, DOOMED];

/// The foreign requests that a `VpcPeeringAccepter` may get.
pub const FRIENDS: usize = 3;

/// The numbers of VPCs that one resource may use.
const VPCS_PER_RESOURCE: usize = 16;

/// The kind of a resource and of its ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scenario {
    /// Both ends in the operator's own account.
    SameAccount,
    /// Both ends by identities of other accounts.
    BothEnds,
    /// As `BothEnds`, with the accepter in another region.
    OtherRegion,
    /// As `SameAccount`, with the accepter's VPC selected by its tags.
    Selector,
    /// A `VpcPeeringAccepter` with requests of foreign accounts.
    Accepter,
    /// As `BothEnds`, in a namespace whose permission comes and goes.
    Withdrawable,
    /// As `SameAccount`, with the deletion policy `Retain`.
    Retained,
    /// The accepter belongs to an account that the operator does not act for.
    Manual,
    /// As `SameAccount`, in a namespace that is deleted now and then.
    Doomed,
    /// In a namespace without permission.
    Stranger,
}

impl Scenario {
    const ALL: [Self; 10] = [
        Self::SameAccount,
        Self::BothEnds,
        Self::OtherRegion,
        Self::Selector,
        Self::Accepter,
        Self::Withdrawable,
        Self::Retained,
        Self::Manual,
        Self::Doomed,
        Self::Stranger,
    ];

    fn own_credentials(self) -> bool {
        matches!(self, Self::SameAccount | Self::Selector | Self::Retained | Self::Doomed)
    }
}

/// One end of a resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct End {
    pub account: &'static str,
    pub region: &'static str,
    pub vpc: String,
    /// The main route table of the VPC.
    pub table: String,
    pub block: String,
}

impl End {
    fn new(account: &'static str, region: &'static str, number: usize) -> Self {
        Self { account, region, vpc: format!("vpc-{number:017x}"), table: table(number), block: block(number) }
    }
}

fn table(number: usize) -> String {
    format!("rtb-{number:017x}")
}

fn block(number: usize) -> String {
    format!("10.{}.{}.0/24", number >> 8 & 0xff, number & 0xff)
}

/// The fields of a spec that the test edits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wish {
    /// The value of the tag `soak`.
    pub tag: usize,
    pub routes: bool,
    pub options: bool,
    pub suspend: bool,
}

impl Default for Wish {
    fn default() -> Self {
        Self { tag: 0, routes: true, options: true, suspend: false }
    }
}

/// A resource by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Resource(pub usize);

impl Resource {
    pub fn scenario(self) -> Scenario {
        Scenario::ALL[self.0 % Scenario::ALL.len()]
    }

    pub fn name(self) -> String {
        format!("r{:03}", self.0)
    }

    pub fn kind(self) -> &'static str {
        if self.scenario() == Scenario::Accepter { "VpcPeeringAccepter" } else { "VpcPeering" }
    }

    pub fn namespace(self) -> &'static str {
        match self.scenario() {
            Scenario::SameAccount | Scenario::Selector | Scenario::Retained => TEAM_A,
            Scenario::BothEnds | Scenario::OtherRegion | Scenario::Accepter | Scenario::Manual => TEAM_B,
            Scenario::Withdrawable => TEAM_C,
            Scenario::Doomed => DOOMED,
            Scenario::Stranger => STRANGER,
        }
    }

    fn number(self, offset: usize) -> usize {
        self.0 * VPCS_PER_RESOURCE + offset
    }

    pub fn requester(self) -> End {
        let account = if self.scenario().own_credentials() { OWN } else { LEFT };
        End::new(account, REGION, self.number(1))
    }

    pub fn accepter(self) -> End {
        let (account, region) = match self.scenario() {
            scenario if scenario.own_credentials() => (OWN, REGION),
            Scenario::OtherRegion => (RIGHT, OTHER_REGION),
            Scenario::Manual => (FRIEND, REGION),
            _ => (RIGHT, REGION),
        };
        End::new(account, region, self.number(2))
    }

    /// The end at which the test makes foreign changes: the requester, or the VPC of a `VpcPeeringAccepter`.
    pub fn home(self) -> End {
        if self.scenario() == Scenario::Accepter { self.accepter() } else { self.requester() }
    }

    /// A VPC of somebody else in the account and region of [`Self::home`].
    pub fn bystander(self) -> End {
        let home = self.home();
        End::new(home.account, home.region, self.number(3))
    }

    /// A VPC whose owner asks a `VpcPeeringAccepter` and is accepted.
    pub fn friend(self, which: usize) -> End {
        End::new(FRIEND, REGION, self.number(4 + which % FRIENDS))
    }

    /// A VPC whose owner asks a `VpcPeeringAccepter` and is not accepted.
    pub fn enemy(self) -> End {
        End::new(ENEMY, REGION, self.number(4 + FRIENDS))
    }

    /// All VPCs of the resource and around it.
    pub fn ends(self) -> Vec<End> {
        let mut ends = vec![self.requester(), self.accepter(), self.bystander()];
        if self.scenario() == Scenario::Accepter {
            ends.extend((0..FRIENDS).map(|which| self.friend(which)));
            ends.push(self.enemy());
        }
        ends
    }

    /// The resources as EC2 has them before the test, in the format of a scene.
    pub fn scene(self) -> (Vec<Value>, Vec<Value>, Vec<Value>) {
        let (mut vpcs, mut tables, mut tags) = (Vec::new(), Vec::new(), Vec::new());
        for end in self.ends() {
            let location = json!({"account": end.account, "region": end.region});
            let with = |fields: Value| {
                let mut object = location.clone();
                for (key, value) in fields.as_object().into_iter().flatten() {
                    object[key] = value.clone();
                }
                object
            };
            vpcs.push(with(json!({"id": end.vpc, "cidr_blocks": [end.block], "dns_hostnames": true})));
            tables.push(with(json!({"id": end.table, "vpc_id": end.vpc, "main": true})));
            if self.scenario() == Scenario::Selector && end == self.accepter() {
                tags.push(with(json!({"resource": end.vpc, "tags": {"soak-name": self.name()}})));
            }
        }
        (vpcs, tables, tags)
    }

    /// The manifest.
    pub fn manifest(self, wish: Wish) -> Value {
        let spec = if self.scenario() == Scenario::Accepter { self.accepter_spec(wish) } else { self.spec(wish) };
        json!({
            "apiVersion": "vpcpeering.dev/v1alpha1",
            "kind": self.kind(),
            "metadata": {"name": self.name(), "namespace": self.namespace()},
            "spec": spec,
        })
    }

    fn spec(self, wish: Wish) -> Value {
        let (mut requester, mut accepter) = (side(&self.requester()), side(&self.accepter()));
        let own = self.scenario().own_credentials();
        if self.scenario() == Scenario::Selector {
            accepter = json!({"region": REGION, "vpcSelector": {"tags": {"soak-name": self.name()}}});
        }
        // Half of the strangers try the operator's own credentials.
        if !own && (self.scenario() != Scenario::Stranger || self.0.is_multiple_of(20)) {
            requester["identityRef"] = json!({"name": "left"});
        }
        if self.scenario() == Scenario::Manual {
            accepter["ownerId"] = json!(FRIEND);
        } else if !own {
            accepter["identityRef"] = json!({"name": "right"});
        }
        let acts_for_accepter = self.scenario() != Scenario::Manual;
        upkeep(&mut requester, wish);
        if acts_for_accepter {
            upkeep(&mut accepter, wish);
        }
        let mut spec = json!({
            "requester": requester,
            "accepter": accepter,
            "tags": [{"key": "soak", "value": wish.tag.to_string()}],
            "suspend": wish.suspend,
            "deletionPolicy": if self.scenario() == Scenario::Retained { "Retain" } else { "Delete" },
        });
        if self.0.is_multiple_of(3) {
            spec["recreateOn"] = json!(["Expired", "Deleted", "Rejected", "Failed"]);
        }
        spec
    }

    fn accepter_spec(self, wish: Wish) -> Value {
        let end = self.accepter();
        let all = json!({"all": true});
        let mut spec = json!({
            "vpcId": end.vpc,
            "region": end.region,
            "identityRef": {"name": "right"},
            "accept": [{"ownerId": FRIEND, "vpcs": all, "regions": all, "cidrBlocks": all}],
            "tags": [{"key": "soak", "value": wish.tag.to_string()}],
            "suspend": wish.suspend,
            "deletionPolicy": "Delete",
        });
        upkeep(&mut spec, wish);
        spec
    }
}

fn side(end: &End) -> Value {
    json!({"vpcId": end.vpc, "region": end.region})
}

fn upkeep(side: &mut Value, wish: Wish) {
    if wish.options {
        side["options"] = json!({"allowDnsResolutionFromRemoteVpc": true});
    }
    if wish.routes {
        side["routes"] = json!({"routeTables": {"main": true}});
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_two_resources_share_a_vpc_or_a_block() {
        let ends: Vec<_> = (0..300).flat_map(|number| Resource(number).ends()).collect();
        let vpcs: BTreeSet<_> = ends.iter().map(|end| &end.vpc).collect();
        let blocks: BTreeSet<_> = ends.iter().map(|end| &end.block).collect();
        assert_eq!((vpcs.len(), blocks.len()), (ends.len(), ends.len()));
    }
}
