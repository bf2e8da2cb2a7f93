//! The VPC that an object of another API describes: a VPC of ACK or Crossplane, the network of a Cluster API cluster,
//! or a kind that an administrator adds.
//!
//! The object is a hint. The limits of the identity and EC2 decide whether the VPC may be used.

use std::fmt;

use serde::Deserialize;
use serde_json::Value;

use super::Blocker;
use super::settings::STALLED_REQUEUE;
use crate::api::Reason;

#[cfg(test)]
mod tests;

/// The annotation of a referenced object that permits references from other namespaces: their names, separated by
/// commas, or `*` for all. Absent or empty, it permits none.
pub(crate) const ALLOWED_NAMESPACES: &str = "vpcpeering.dev/allowed-namespaces";

/// The maximum number of kinds that an administrator can add. Each kind in use costs one watch.
const MAX_ADDED_KINDS: usize = 20;

/// A kind of object that describes a VPC, and the location of each field as a JSON Pointer.
/// <https://www.rfc-editor.org/rfc/rfc6901>
///
/// The version is not listed: the API server names the one that it prefers.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct ReferenceKind {
    /// The API group. References of every version of the group match.
    pub group: String,
    pub kind: String,
    /// The name of the resource in RBAC, for example `vpcs`.
    pub resource: String,
    /// The location of the VPC ID.
    pub vpc_id: String,
    /// The location of the region. Without it, the region comes from the resource alone.
    #[serde(default)]
    pub region: Option<String>,
    /// The location of the ID of the account that owns the VPC. Without it, EC2 alone shows the owner.
    #[serde(default)]
    pub owner_id: Option<String>,
    /// The type of the condition that must be True before the object is used.
    #[serde(default)]
    pub ready_condition: Option<String>,
}

/// The kinds that are known without configuration.
pub(crate) fn built_in() -> Vec<ReferenceKind> {
    // https://github.com/crossplane-contrib/provider-upjet-aws/blob/main/package/crds/ec2.aws.upbound.io_vpcs.yaml
    let crossplane = |group: &str| ReferenceKind {
        group: group.into(),
        kind: "VPC".into(),
        resource: "vpcs".into(),
        vpc_id: "/status/atProvider/id".into(),
        region: Some("/spec/forProvider/region".into()),
        owner_id: Some("/status/atProvider/ownerId".into()),
        ready_condition: Some("Ready".into()),
    };
    vec![
        // https://github.com/aws-controllers-k8s/ec2-controller/blob/main/config/crd/bases/ec2.services.k8s.aws_vpcs.yaml
        ReferenceKind {
            group: "ec2.services.k8s.aws".into(),
            kind: "VPC".into(),
            resource: "vpcs".into(),
            vpc_id: "/status/vpcID".into(),
            region: Some("/status/ackResourceMetadata/region".into()),
            owner_id: Some("/status/ownerID".into()),
            ready_condition: None,
        },
        crossplane("ec2.aws.upbound.io"),
        crossplane("ec2.aws.m.upbound.io"),
        // Cluster API writes the ID of a VPC that it creates into the spec.
        // https://github.com/kubernetes-sigs/cluster-api-provider-aws/blob/main/api/v1beta2/awscluster_types.go
        ReferenceKind {
            group: "infrastructure.cluster.x-k8s.io".into(),
            kind: "AWSCluster".into(),
            resource: "awsclusters".into(),
            vpc_id: "/spec/network/vpc/id".into(),
            region: Some("/spec/region".into()),
            owner_id: None,
            ready_condition: None,
        },
    ]
}

/// The built-in kinds and those of an administrator: a JSON array of `ReferenceKind`.
///
/// # Errors
/// If the text is not such an array, a location is not a JSON Pointer, or a kind is listed twice.
pub(crate) fn table(added: &str) -> Result<Vec<ReferenceKind>, String> {
    let added: Vec<ReferenceKind> = serde_json::from_str(added).map_err(|error| error.to_string())?;
    if added.len() > MAX_ADDED_KINDS {
        return Err(format!("{} kinds are listed; at most {MAX_ADDED_KINDS} are allowed", added.len()));
    }
    let mut kinds = built_in();
    for new in added {
        if [&new.group, &new.kind, &new.resource].into_iter().any(String::is_empty) {
            let problem = "group, kind and resource must not be empty; a kind of the core API cannot be referenced";
            return Err(problem.into());
        }
        let locations =
            [("vpcId", Some(&new.vpc_id)), ("region", new.region.as_ref()), ("ownerId", new.owner_id.as_ref())];
        let malformed = |pointer: &&String| !pointer.starts_with('/');
        if let Some((field, pointer)) = locations.iter().find_map(|(field, at)| Some((field, at.filter(malformed)?))) {
            let name = &new.kind;
            return Err(format!("{field} of {name} is {pointer:?}; it must be a JSON Pointer such as /status/vpcId"));
        }
        if kinds.iter().any(|kind| kind.group == new.group && kind.kind == new.kind) {
            return Err(format!("{}/{} is listed twice, or is built in", new.group, new.kind));
        }
        kinds.push(new);
    }
    Ok(kinds)
}

/// A referenced object, and the field of the resource that names it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reference<'a> {
    /// The field, for example `spec.requester.vpcRef`.
    pub field: &'a str,
    /// The namespace of the resource with the field.
    pub from: &'a str,
    pub kind: &'a ReferenceKind,
    /// The namespace of the object. `None` if its kind is cluster-scoped.
    pub namespace: Option<&'a str>,
    pub name: &'a str,
}

/// A VPC that a reference has found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ReferencedVpc {
    /// The field and the object, for messages.
    pub source: String,
    pub vpc_id: String,
    pub region: Option<String>,
    pub owner_id: Option<String>,
}

impl ReferencedVpc {
    /// # Errors
    /// If the VPC is in another region or account than its end.
    pub(crate) fn admit(&self, region: &str, owner_id: &str) -> Result<(), Blocker> {
        let Self { source, vpc_id, .. } = self;
        let expected = [
            ("region", self.region.as_deref(), region, Reason::InvalidRequest),
            ("account", self.owner_id.as_deref(), owner_id, Reason::IdentityMismatch),
        ];
        for (term, shown, expected, reason) in expected {
            if let Some(shown) = shown.filter(|shown| *shown != expected) {
                let message = format!(
                    "{source} describes {vpc_id} of {term} {shown}, but this end is in {term} {expected}; correct the reference or this end"
                );
                return Err(Blocker::rechecked(reason, message));
            }
        }
        Ok(())
    }
}

impl fmt::Display for Reference<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, namespace, name, .. } = self;
        write!(f, "{}.{} ", kind.kind, kind.group)?;
        namespace.map_or(Ok(()), |namespace| write!(f, "{namespace}/"))?;
        f.write_str(name)
    }
}

impl Reference<'_> {
    /// The VPC that the object describes. Null stands for an object that does not exist.
    ///
    /// # Errors
    /// If the namespace may not use the object, the object is not ready or is being deleted, or a field is malformed.
    /// Each message names the field and the object.
    pub(crate) fn resolve(&self, object: &Value) -> Result<ReferencedVpc, Blocker> {
        self.permit(object)?;
        if object.is_null() {
            return Err(self.blocker(Reason::ReferenceNotFound, "does not exist; create it, or correct the field"));
        }
        if object.pointer("/metadata/deletionTimestamp").is_some_and(|time| !time.is_null()) {
            return Err(self.blocker(Reason::ReferenceNotFound, "is being deleted; reference another object"));
        }
        if let Some(condition) = self.kind.ready_condition.as_deref().filter(|name| !is_true(object, name)) {
            return Err(self.awaiting(&format!("is not ready: its condition {condition} is not True")));
        }
        self.read(object)
    }

    /// A problem that a person has to solve.
    pub(crate) fn blocker(&self, reason: Reason, problem: &str) -> Blocker {
        let message = format!("{}: {self} {problem}", self.field);
        Blocker::rechecked(reason, message)
    }

    /// The object has no VPC yet.
    fn awaiting(&self, problem: &str) -> Blocker {
        let message = format!("{}: {self} {problem}; the operator waits for it", self.field);
        Blocker::passing(Reason::AwaitingReference, message, STALLED_REQUEUE)
    }

    /// Checks whether the namespace of the resource may use the object. A cluster-scoped object has no namespace, so that
    /// it always needs the annotation. The answer does not tell whether an object of another namespace exists.
    fn permit(&self, object: &Value) -> Result<(), Blocker> {
        let annotations = object.pointer("/metadata/annotations");
        let allowed = annotations.and_then(|all| all.get(ALLOWED_NAMESPACES)?.as_str()).unwrap_or_default();
        let is_listed = allowed.split(',').map(str::trim).any(|name| name == "*" || name == self.from);
        if !self.from.is_empty() && (self.namespace == Some(self.from) || is_listed) {
            return Ok(());
        }
        let from = self.from;
        let problem = format!(
            "does not exist, or does not permit references from namespace {from}; its owner can add {from} to its annotation {ALLOWED_NAMESPACES}"
        );
        Err(self.blocker(Reason::ReferenceNotAllowed, &problem))
    }

    fn read(&self, object: &Value) -> Result<ReferencedVpc, Blocker> {
        let kind = self.kind;
        let vpc_id = self
            .text(object, &kind.vpc_id, is_vpc_id)?
            .ok_or_else(|| self.awaiting(&format!("has no VPC ID at {} yet", kind.vpc_id)))?;
        let optional = |pointer: &Option<String>, is_valid: fn(&str) -> bool| match pointer {
            Some(pointer) => self.text(object, pointer, is_valid),
            None => Ok(None),
        };
        let region = optional(&kind.region, is_region)?;
        let owner_id = optional(&kind.owner_id, is_account_id)?;
        Ok(ReferencedVpc { source: format!("{}: {self}", self.field), vpc_id, region, owner_id })
    }

    /// The text at this location. `None` if it is absent, null or empty. The message leaves the text out: the location
    /// comes from an administrator and may hold anything.
    fn text(&self, object: &Value, pointer: &str, is_valid: fn(&str) -> bool) -> Result<Option<String>, Blocker> {
        match object.pointer(pointer) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) if text.is_empty() => Ok(None),
            Some(Value::String(text)) if is_valid(text) => Ok(Some(text.clone())),
            Some(_) => {
                let problem = format!("has a malformed value at {pointer}");
                Err(self.blocker(Reason::InvalidRequest, &problem))
            }
        }
    }
}

fn is_true(object: &Value, condition: &str) -> bool {
    let conditions = object.pointer("/status/conditions").and_then(Value::as_array);
    let has = |entry: &Value, key: &str, value: &str| entry.get(key).and_then(Value::as_str) == Some(value);
    conditions.into_iter().flatten().any(|entry| has(entry, "type", condition) && has(entry, "status", "True"))
}

fn is_vpc_id(text: &str) -> bool {
    text.strip_prefix("vpc-").is_some_and(|id| {
        matches!(id.len(), 8 | 17) && id.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    })
}

fn is_account_id(text: &str) -> bool {
    text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Whether this may be the name of a region. `Limits::region` decides whether it is allowed.
fn is_region(text: &str) -> bool {
    text.len() <= 32
        && text.contains('-')
        && text.bytes().all(|byte| byte == b'-' || byte.is_ascii_lowercase() || byte.is_ascii_digit())
}
