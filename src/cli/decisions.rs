//! The flags that decide what the operator does with a resource. `run` and `plan` have the same.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use clap::Args;
use regex::Regex;

use crate::api::{AllowedRegions, DeletionPolicy};
use crate::aws::SessionTags;
use crate::controller::{OwnCredentials, OwnNamespaces};
use crate::peering::vpc_reference::{self, ReferenceKind};
use crate::peering::{self, defaults::MAX_DEFAULT_TAGS};

/// The prefix of the keys of ownership tags.
const PREFIX: &str = peering::Owner::PREFIX;

#[derive(Clone, Debug, Args)]
pub(super) struct DecisionArgs {
    /// The time that the operator waits for EC2's eventual consistency. If EC2 does not show a connection for longer
    /// than this, the operator treats it as deleted.
    #[arg(long, env = "CONSISTENCY_WINDOW", default_value = "60s", value_parser = duration)]
    consistency_window: Duration,

    /// The pause before the operator requests a new connection because of spec.recreateOn. It doubles with each
    /// consecutive request, up to one hour.
    #[arg(long, env = "RECREATION_PAUSE", default_value = "60s", value_parser = duration)]
    recreation_pause: Duration,

    /// The namespaces whose resources may use the operator's own AWS credentials if they set no identityRef: `none`, a
    /// list such as `team-a,team-b`, or `*` for all namespaces.
    #[arg(long, env = "OWN_CREDENTIALS_NAMESPACES", default_value = "none", value_parser = own_namespaces)]
    own_credentials_namespaces: OwnNamespaces,

    /// The regions in which the operator's own AWS credentials may be used: a list such as `eu-central-1,us-west-2`, or
    /// `*` for all regions that this version of the operator knows.
    #[arg(long, env = "OWN_CREDENTIALS_REGIONS", default_value = "*", value_parser = own_regions)]
    own_credentials_regions: AllowedRegions,

    /// Allow resources that use the operator's own AWS credentials to adopt existing connections: with
    /// spec.vpcPeeringConnectionId of a VpcPeering, or spec.adopt of a VpcPeeringAccepter. Deleting such a VpcPeering
    /// deletes the connection, unless its deletionPolicy is Retain.
    #[arg(long, env = "OWN_CREDENTIALS_ALLOW_ADOPTION")]
    own_credentials_allow_adoption: bool,

    /// Tags of every peering connection, for example `team=network,cost-center=42`. A tag of a resource with the same
    /// key wins. If a default tag changes or is removed here, it changes or is removed on every connection. A value
    /// cannot contain a comma.
    #[arg(long, env = "DEFAULT_TAGS", default_value = "", hide_default_value = true, value_parser = default_tags)]
    default_tags: DefaultTags,

    /// The deletion policy of resources that do not set spec.deletionPolicy. `Delete`: the operator deletes the peering
    /// connection of a deleted resource. `Retain`: it stays in AWS. status.deletionPolicy shows the policy in effect.
    #[arg(long, env = "DEFAULT_DELETION_POLICY", default_value = "Delete", value_parser = deletion_policy)]
    default_deletion_policy: DeletionPolicy,

    /// The region of ends that name none and use the operator's own AWS credentials, for example `eu-central-1`.
    /// Without it, such an end must name its region. It is independent of AWS_REGION, to which the operator sends
    /// requests to STS.
    #[arg(long, env = "DEFAULT_REGION", value_parser = default_region)]
    region: Option<String>,

    /// Kinds of objects that `vpcRef` can name, in addition to the VPCs of ACK and Crossplane and the AWSCluster of Cluster
    /// API: a JSON array of objects with `group`, `kind`, `resource` (the plural name in RBAC) and `vpcId`, and
    /// optionally `region`, `ownerId` and `readyCondition` (the type of the condition that must be True). `vpcId`,
    /// `region` and `ownerId` are JSON Pointers, such as `/status/vpcId`. The operator needs the rights get, list and
    /// watch on each.
    #[arg(long, env = "REFERENCE_KINDS", default_value = "", hide_default_value = true, value_parser = reference_kinds)]
    reference_kinds: ReferenceKinds,

    /// Add no session tags to the sessions of AwsIdentity roles. By default they carry the cluster ID and the namespace
    /// of the resource, which the IAM policies in deploy/iam need to keep namespaces apart. Then only spec.sessionTags
    /// of the AwsIdentity is sent.
    #[arg(long, env = "DISABLE_SESSION_TAGS")]
    disable_session_tags: bool,

    /// The ID of this cluster in the ownership tags. Defaults to the UID of the namespace kube-system, which differs in
    /// every cluster except in a clone. Only with the default, a resource adopts the peering of an earlier resource
    /// with the same name and the same VPCs. Keep the ID when you rebuild the cluster from a backup. Set another ID in
    /// a clone.
    #[arg(long, env = "CLUSTER_ID", value_parser = cluster_id)]
    pub(super) cluster_id: Option<String>,
}

impl DecisionArgs {
    pub(super) fn own_credentials(&self) -> OwnCredentials {
        OwnCredentials {
            namespaces: self.own_credentials_namespaces.clone(),
            regions: self.own_credentials_regions.clone(),
            adoption: self.own_credentials_allow_adoption,
            region: self.region.clone().filter(|region| !region.is_empty()),
        }
    }

    pub(super) fn session_tags(&self) -> SessionTags {
        SessionTags::from_flag(self.disable_session_tags)
    }

    pub(super) fn defaults(&self) -> peering::Defaults {
        peering::Defaults { tags: self.default_tags.0.clone(), deletion_policy: self.default_deletion_policy }
    }

    pub(super) fn reference_kinds(&self) -> Vec<ReferenceKind> {
        self.reference_kinds.0.clone()
    }

    pub(super) fn settings(&self) -> peering::Settings {
        peering::Settings {
            consistency_window: self.consistency_window,
            recreation_pause: self.recreation_pause,
            is_cluster_unique: self.cluster_id.is_none(),
        }
    }
}

/// The kinds of objects that `vpcRef` can name.
#[derive(Clone, Debug)]
struct ReferenceKinds(Vec<ReferenceKind>);

/// Parses the kinds of an administrator, and adds those that are built in. An empty text adds none.
fn reference_kinds(text: &str) -> Result<ReferenceKinds, String> {
    let text = text.trim();
    vpc_reference::table(if text.is_empty() { "[]" } else { text }).map(ReferenceKinds)
}

/// Parses a positive duration, for example `500ms`, `90s` or `2m`.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let units = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000)];
    let parsed = units.iter().find_map(|(unit, milliseconds)| {
        let number: u64 = text.strip_suffix(unit)?.parse().ok()?;
        number.checked_mul(*milliseconds)
    });
    match parsed {
        Some(0) | None => Err("must be a positive whole number with a unit, for example 500ms, 90s, 2m or 1h".into()),
        Some(milliseconds) => Ok(Duration::from_millis(milliseconds)),
    }
}

/// Whether this is a valid name of a namespace.
pub(super) fn is_namespace_name(name: &str) -> bool {
    (1..=63).contains(&name.len())
        && name.chars().all(|letter| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '-')
}

/// Parses `*`, `none`, or a list of namespaces.
fn own_namespaces(text: &str) -> Result<OwnNamespaces, String> {
    match text {
        "*" => Ok(OwnNamespaces::All),
        "none" => Ok(OwnNamespaces::List(Default::default())),
        list => {
            let names: BTreeSet<String> = list.split(',').map(|name| name.trim().to_owned()).collect();
            match names.iter().find(|name| !is_namespace_name(name)) {
                None => Ok(OwnNamespaces::List(names)),
                Some(name) => {
                    Err(format!("{name:?} is not a valid namespace name; use *, none, or names separated by commas"))
                }
            }
        }
    }
}

fn is_region(name: &str) -> bool {
    name.len() <= 32
        && name.split('-').count() >= 3
        && name.chars().all(|letter| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '-')
}

/// Parses the default region. An empty value, as from an unset chart value, means none.
fn default_region(text: &str) -> Result<String, String> {
    if text.is_empty() || is_region(text) {
        Ok(text.to_owned())
    } else {
        Err(format!("{text:?} is not a valid region name; use a name such as eu-central-1"))
    }
}

fn deletion_policy(text: &str) -> Result<DeletionPolicy, String> {
    match text {
        "Delete" => Ok(DeletionPolicy::Delete),
        "Retain" => Ok(DeletionPolicy::Retain),
        _ => Err("must be Delete or Retain".into()),
    }
}

/// The default tags, by key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct DefaultTags(BTreeMap<String, String>);

/// Parses `KEY=VALUE,…`. The limits are those of `spec.tags`.
fn default_tags(text: &str) -> Result<DefaultTags, String> {
    let mut tags = BTreeMap::new();
    for tag in text.split(',').filter(|_| !text.trim().is_empty()) {
        let (key, value) = tag.split_once('=').ok_or_else(|| format!("{tag:?} has no value; write KEY=VALUE,…"))?;
        let (key, lower) = (key.trim(), key.trim().to_lowercase());
        if !(1..=127).contains(&key.chars().count()) || value.chars().count() > 256 {
            return Err(format!("the tag {tag:?}: a key must have 1 to 127 characters, and a value at most 256"));
        }
        if lower.starts_with("aws:") {
            return Err(format!(
                "the key {key:?} is reserved: AWS reserves keys that start with aws:; use another key"
            ));
        }
        if lower.starts_with(PREFIX) {
            return Err(format!(
                "the key {key:?} is reserved: the operator records by keys that start with {PREFIX} who owns a peering; use another key"
            ));
        }
        if tags.insert(key.to_owned(), value.to_owned()).is_some() {
            return Err(format!("the key {key:?} occurs twice; remove one of the two tags"));
        }
    }
    if tags.len() > MAX_DEFAULT_TAGS {
        return Err(format!("{} tags are too many; list at most {MAX_DEFAULT_TAGS}", tags.len()));
    }
    Ok(DefaultTags(tags))
}

/// Parses `*`, or a list of regions.
fn own_regions(text: &str) -> Result<AllowedRegions, String> {
    if text == "*" {
        return Ok(AllowedRegions { all: true, list: None });
    }
    let names: Vec<String> = text.split(',').map(|name| name.trim().to_owned()).collect();
    match names.iter().find(|name| !is_region(name)) {
        None => Ok(AllowedRegions { all: false, list: Some(names) }),
        Some(name) => {
            Err(format!("{name:?} is not a valid region name; use *, or names such as eu-central-1,us-west-2"))
        }
    }
}

/// Checks the cluster ID. It becomes the value of EC2 tags and of session tags; session tags allow fewer characters.
/// <https://docs.aws.amazon.com/STS/latest/APIReference/API_Tag.html>
fn cluster_id(text: &str) -> Result<String, String> {
    let allowed = Regex::new(r"^[\p{L}\p{Z}\p{N}_.:/=+\-@]*$").map_err(|error| error.to_string())?;
    if !(1..=256).contains(&text.chars().count()) {
        Err("must have 1 to 256 characters".into())
    } else if !allowed.is_match(text) {
        Err("may contain letters, digits, spaces and _.:/=+-@ only, as AWS session tags".into())
    } else {
        Ok(text.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_credentials_namespaces_are_all_none_or_a_list() {
        let namespaces =
            |names: &[&str]| Ok(OwnNamespaces::List(names.iter().map(|name| (*name).to_owned()).collect()));
        assert_eq!(own_namespaces("*"), Ok(OwnNamespaces::All));
        assert_eq!(own_namespaces("none"), namespaces(&[]));
        assert_eq!(own_namespaces("team-a, team-b"), namespaces(&["team-a", "team-b"]));
        for text in ["", "team-a,", "Team", "*,team-a"] {
            assert!(own_namespaces(text).is_err(), "{text}");
        }
    }

    #[test]
    fn own_credentials_regions_are_all_or_a_list() {
        assert_eq!(own_regions("*"), Ok(AllowedRegions { all: true, list: None }));
        let two = own_regions("eu-central-1, us-west-2").map(|regions| regions.list.unwrap_or_default());
        assert_eq!(two, Ok(vec!["eu-central-1".to_owned(), "us-west-2".to_owned()]));
        for text in ["", "eu-central-1,", "Frankfurt", "*,eu-central-1"] {
            assert!(own_regions(text).is_err(), "{text}");
        }
    }

    #[test]
    fn default_tags_follow_the_limits_of_tags() {
        let parsed = default_tags("team=network, cost-center=4=2,empty=").map(|tags| tags.0);
        let expected = [("team", "network"), ("cost-center", "4=2"), ("empty", "")];
        assert_eq!(parsed, Ok(expected.map(|(key, value)| (key.to_owned(), value.to_owned())).into()));
        assert_eq!(default_tags(""), Ok(DefaultTags::default()));
        let too_many = (0..=MAX_DEFAULT_TAGS).map(|n| format!("k{n}=")).collect::<Vec<_>>().join(",");
        for text in ["team", "=x", "a=1,a=2", "aws:x=1", "AWS:x=1", "vpcpeering.dev/uid=1", "VpcPeering.dev/x=1"] {
            assert!(default_tags(text).is_err(), "{text}");
        }
        assert!(default_tags(&too_many).is_err());
        let refused = default_tags("vpcpeering.dev/uid=1");
        assert!(refused.is_err_and(|error| error.contains("vpcpeering.dev/uid") && error.contains("reserved")));
    }

    #[test]
    fn the_default_region_and_policy_are_checked() {
        assert_eq!(default_region("eu-central-1"), Ok("eu-central-1".into()));
        assert!(default_region("Frankfurt").is_err() && default_region("").is_ok());
        assert_eq!(deletion_policy("Retain"), Ok(DeletionPolicy::Retain));
        assert!(deletion_policy("retain").is_err() && deletion_policy("").is_err());
    }

    #[test]
    fn a_cluster_id_is_valid_as_a_session_tag() {
        let longest = "ä".repeat(256);
        for text in ["0b8e-4f", "team A/b_c.d:e=f+g@h", "größe 5", "集群①", longest.as_str()] {
            assert_eq!(cluster_id(text), Ok(text.to_owned()));
        }
        let too_long = "a".repeat(257);
        for text in ["", "R&D", "a\nb", "a\tb", "a*", "\u{7f}", "a\u{301}", "a\n", too_long.as_str()] {
            assert!(cluster_id(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn durations_are_positive_and_have_a_unit() {
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        for text in ["0s", "5", "s", "-1s", "1.5s", "99999999999999999999s"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}
