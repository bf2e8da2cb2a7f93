//! The scenes: a state of the cluster and of EC2, and a change.

use crate::world::{OTHER_ACCOUNT, OTHER_REGION, REGION};

/// One end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Requester,
    Accepter,
}

/// The kind of the resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Peering,
    Accepter,
}

/// The state before the plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Before {
    Nothing,
    /// Active, with this spec.
    Spec(&'static str),
    /// Requested with this spec, until EC2 shows this code.
    Shows(&'static str, &'static str),
    /// A connection that the operator did not create, and that the spec names.
    Foreign,
    /// A request that the operator did not make.
    Requested,
    /// The CIDR blocks of the two VPCs overlap.
    Overlap,
    /// The VPCs lack enableDnsHostnames.
    NoDns,
}

/// The change that the plan is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// The manifest with this spec.
    Apply(&'static str),
    Delete,
    RemoveTag(End, &'static str),
    EditTag(End, &'static str),
    DropRoute(End),
    ClearOption(End),
    DeleteConnection,
    /// The accepter's owner accepts the request.
    Accept,
    /// The accepter's owner rejects the request.
    Reject,
    /// Nobody accepts the request within seven days.
    Expire,
}

pub struct Scene {
    pub name: &'static str,
    pub kind: Kind,
    /// The account of the accepter, if it is another one, and its region.
    pub place: (Option<&'static str>, &'static str),
    pub before: Before,
    pub change: Change,
    /// Whether the resource still needs a person after the operator is done.
    pub stalls: bool,
}

const NEAR: (Option<&str>, &str) = (None, REGION);
const FAR: (Option<&str>, &str) = (Some(OTHER_ACCOUNT), OTHER_REGION);
const ACROSS_REGIONS: (Option<&str>, &str) = (None, OTHER_REGION);
const ACROSS_ACCOUNTS: (Option<&str>, &str) = (Some(OTHER_ACCOUNT), REGION);

const ROUTES: &str = r#"{"requester": {"routes": {"routeTables": {"main": true}}},
    "accepter": {"routes": {"routeTables": {"all": true}}}}"#;
const WIDER: &str = r#"{"requester": {"routes": {"routeTables": {"main": true},
    "destinationCidrBlocks": ["10.2.0.0/17"]}}}"#;
const EXCLUDED: &str = r#"{"requester": {"routes": {"routeTables": {"all": true},
    "excludeCidrBlocks": ["10.2.0.0/16"]}}}"#;
const LISTS: &str = r#"{"requester": {"routes": {"routeTables": {"main": true},
    "destinationPrefixListIds": ["pl-0000000000000000a"]}}}"#;
const TAGS: &str = r#"{"tags": [{"key": "team", "value": "a"}], "accepter": {"tags": [{"key": "end", "value": "b"}]}}"#;
const OPTIONS: &str = r#"{"requester": {"options": {"allowDnsResolutionFromRemoteVpc": true}},
    "accepter": {"options": {"allowDnsResolutionFromRemoteVpc": true}}}"#;
const NO_OPTIONS: &str = r#"{"requester": {"options": {"allowDnsResolutionFromRemoteVpc": false}}}"#;
const DNS: &str = r#"{"requester": {"options": {"allowDnsResolutionFromRemoteVpc": true, "manageDnsAttributes": true}},
    "accepter": {"options": {"manageDnsAttributes": true}}}"#;
const ALL: &str = r#"{"tags": [{"key": "team", "value": "a"}], "recreateOn": ["Deleted"],
    "requester": {"routes": {"routeTables": {"main": true}}, "options": {"allowDnsResolutionFromRemoteVpc": true}},
    "accepter": {"routes": {"routeTables": {"main": true}}, "options": {"allowDnsResolutionFromRemoteVpc": true},
        "tags": [{"key": "end", "value": "b"}]}}"#;
const MANUAL: &str = r#"{"acceptance": "Manual", "recreateOn": ["Rejected"],
    "requester": {"routes": {"routeTables": {"main": true}}}}"#;
/// EC2 shows no such VPC in this account.
const ABSENT: &str = r#"{"accepter": {"ownerId": "222222222222"}}"#;
const PENDING: &str = "pending-acceptance";
const FAILED: &str = "failed";
/// The spec of a `VpcPeeringAccepter` with everything.
const END: &str = r#"{"tags": [{"key": "team", "value": "a"}], "options": {"allowDnsResolutionFromRemoteVpc": true},
    "routes": {"routeTables": {"main": true}}}"#;
const DENY: &str = r#"{"deny": [{"ownerId": "111111111111"}], "reject": true}"#;

pub fn scenes() -> Vec<Scene> {
    let of_peerings = peerings().into_iter().chain(drifts()).map(|row| scene(Kind::Peering, row));
    of_peerings.chain(accepters().into_iter().map(|row| scene(Kind::Accepter, row))).collect()
}

/// Scenes in which the clock of EC2 moves on until requests expire.
pub fn expired() -> Vec<Scene> {
    let recreate = r#"{"acceptance": "Manual", "recreateOn": ["Expired"]}"#;
    let rows = [
        ("expired", NEAR, Before::Shows(MANUAL, PENDING), Change::Expire, true),
        ("expired-recreate", NEAR, Before::Shows(recreate, PENDING), Change::Expire, false),
        ("expired-far", FAR, Before::Shows(recreate, PENDING), Change::Expire, false),
    ];
    rows.map(|row| scene(Kind::Peering, row)).into()
}

type Row = (&'static str, (Option<&'static str>, &'static str), Before, Change, bool);

fn scene(kind: Kind, (name, place, before, change, stalls): Row) -> Scene {
    Scene { name, kind, place, before, change, stalls }
}

fn peerings() -> Vec<Row> {
    use Before::{Foreign, NoDns, Nothing, Overlap, Spec};
    use Change::Apply;
    vec![
        ("new", NEAR, Nothing, Apply("{}"), false),
        ("new-two-regions", ACROSS_REGIONS, Nothing, Apply("{}"), false),
        ("new-two-accounts", ACROSS_ACCOUNTS, Nothing, Apply("{}"), false),
        ("new-far", FAR, Nothing, Apply("{}"), false),
        ("new-routes", NEAR, Nothing, Apply(ROUTES), false),
        ("new-routes-far", FAR, Nothing, Apply(ROUTES), false),
        ("new-narrow-route", NEAR, Nothing, Apply(WIDER), false),
        ("new-without-excluded", NEAR, Nothing, Apply(EXCLUDED), false),
        ("new-prefix-list", NEAR, Nothing, Apply(LISTS), false),
        ("new-tags", NEAR, Nothing, Apply(TAGS), false),
        ("new-tags-far", FAR, Nothing, Apply(TAGS), false),
        ("new-options", NEAR, Nothing, Apply(OPTIONS), false),
        ("new-options-far", FAR, Nothing, Apply(OPTIONS), false),
        ("new-all", NEAR, Nothing, Apply(ALL), false),
        ("new-all-two-regions", ACROSS_REGIONS, Nothing, Apply(ALL), false),
        ("new-all-far", FAR, Nothing, Apply(ALL), false),
        ("new-manual", NEAR, Nothing, Apply(MANUAL), false),
        ("new-suspended", NEAR, Nothing, Apply(r#"{"suspend": true}"#), false),
        ("new-dry-run", NEAR, Nothing, Apply(r#"{"dryRun": true}"#), false),
        ("dns-managed", NEAR, NoDns, Apply(DNS), false),
        ("dns-missing", NEAR, NoDns, Apply(OPTIONS), true),
        ("observe-nothing", NEAR, Nothing, Apply(r#"{"managementPolicy": "Observe"}"#), true),
        ("overlap", NEAR, Overlap, Apply(ROUTES), true),
        ("adopt", NEAR, Foreign, Apply("{}"), false),
        ("adopt-routes", NEAR, Foreign, Apply(ROUTES), false),
        ("adopt-tags", NEAR, Foreign, Apply(TAGS), false),
        ("adopt-dry-run", NEAR, Foreign, Apply(r#"{"dryRun": true}"#), true),
        ("observe", NEAR, Foreign, Apply(r#"{"managementPolicy": "Observe"}"#), false),
        ("unchanged", FAR, Spec(ALL), Apply(ALL), false),
        ("add-routes", FAR, Spec("{}"), Apply(ROUTES), false),
        ("remove-routes", FAR, Spec(ROUTES), Apply("{}"), false),
        ("narrow-routes", NEAR, Spec(ROUTES), Apply(WIDER), false),
        ("prefix-list-instead", NEAR, Spec(ROUTES), Apply(LISTS), false),
        ("add-tags", FAR, Spec("{}"), Apply(TAGS), false),
        ("remove-tags", FAR, Spec(TAGS), Apply("{}"), false),
        ("exclude-routes", NEAR, Spec(ROUTES), Apply(EXCLUDED), false),
        ("edit-tag", NEAR, Spec(TAGS), Apply(r#"{"tags": [{"key": "team", "value": "z"}]}"#), false),
        ("add-options", FAR, Spec("{}"), Apply(OPTIONS), false),
        ("clear-option", NEAR, Spec(OPTIONS), Apply(NO_OPTIONS), false),
        ("add-all", NEAR, Spec("{}"), Apply(ALL), false),
        ("suspended", NEAR, Spec("{}"), Apply(r#"{"suspend": true, "tags": [{"key": "a", "value": "b"}]}"#), false),
    ]
}

fn drifts() -> Vec<Row> {
    use Before::{Shows, Spec};
    use Change::{Accept, ClearOption, Delete, DeleteConnection, DropRoute, EditTag, Reject, RemoveTag};
    vec![
        ("drift-tag", NEAR, Spec(TAGS), RemoveTag(End::Requester, "team"), false),
        ("drift-tag-far", FAR, Spec(TAGS), RemoveTag(End::Accepter, "end"), false),
        ("drift-edited-tag", FAR, Spec(TAGS), EditTag(End::Requester, "team"), false),
        ("drift-owner-tag", FAR, Spec("{}"), RemoveTag(End::Requester, "vpcpeering.dev/name"), false),
        ("drift-route", NEAR, Spec(ROUTES), DropRoute(End::Requester), false),
        ("drift-route-far", FAR, Spec(ALL), DropRoute(End::Accepter), false),
        ("drift-option", NEAR, Spec(OPTIONS), ClearOption(End::Requester), false),
        ("drift-option-far", FAR, Spec(ALL), ClearOption(End::Accepter), false),
        ("drift-foreign-tag", NEAR, Spec("{}"), EditTag(End::Requester, "other"), false),
        ("accepted-by-owner", NEAR, Shows(MANUAL, PENDING), Accept, false),
        ("rejected", NEAR, Shows(r#"{"acceptance": "Manual"}"#, PENDING), Reject, true),
        ("failed", NEAR, Shows(ABSENT, FAILED), Change::Apply(ABSENT), true),
        ("failed-delete", NEAR, Shows(ABSENT, FAILED), Delete, false),
        ("rejected-recreate", NEAR, Shows(MANUAL, PENDING), Reject, false),
        ("recreate", NEAR, Spec(r#"{"recreateOn": ["Deleted"]}"#), DeleteConnection, false),
        ("recreate-all", NEAR, Spec(ALL), DeleteConnection, false),
        ("recreate-all-far", FAR, Spec(ALL), DeleteConnection, false),
        ("no-recreate", NEAR, Spec("{}"), DeleteConnection, true),
        ("delete", NEAR, Spec("{}"), Delete, false),
        ("delete-routes", NEAR, Spec(ROUTES), Delete, false),
        ("delete-prefix-list", NEAR, Spec(LISTS), Delete, false),
        ("delete-all-far", FAR, Spec(ALL), Delete, false),
        ("delete-pending", NEAR, Shows(MANUAL, PENDING), Delete, false),
        ("retain", NEAR, Spec(r#"{"deletionPolicy": "Retain"}"#), Delete, false),
        ("retain-far", FAR, Spec(r#"{"deletionPolicy": "Retain"}"#), Delete, false),
    ]
}

fn accepters() -> Vec<Row> {
    use Before::{Nothing, Requested, Spec};
    use Change::{Apply, ClearOption, Delete, DeleteConnection, DropRoute, RemoveTag};
    vec![
        ("accepter-without-request", NEAR, Nothing, Apply(END), false),
        ("accepter-accepts", NEAR, Requested, Apply("{}"), false),
        ("accepter-accepts-all", NEAR, Requested, Apply(END), false),
        ("accepter-accepts-all-far", FAR, Requested, Apply(END), false),
        ("accepter-denies", NEAR, Requested, Apply(DENY), false),
        ("accepter-ignores", NEAR, Requested, Apply(r#"{"accept": []}"#), false),
        ("accepter-adds-all", FAR, Spec("{}"), Apply(END), false),
        ("accepter-removes-all", FAR, Spec(END), Apply(r#"{"tags": []}"#), false),
        ("accepter-drift-tag", FAR, Spec(END), RemoveTag(End::Accepter, "team"), false),
        ("accepter-drift-route", NEAR, Spec(END), DropRoute(End::Accepter), false),
        ("accepter-drift-option", FAR, Spec(END), ClearOption(End::Accepter), false),
        ("accepter-loses-peer", FAR, Spec(END), DeleteConnection, false),
        ("accepter-delete", FAR, Spec(END), Delete, false),
        ("accepter-retain", FAR, Spec(r#"{"deletionPolicy": "Retain"}"#), Delete, false),
    ]
}
