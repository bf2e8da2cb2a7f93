//! The rights in Kubernetes that the operator needs. The chart grants exactly these; `tests/chart/permissions.rs`
//! compares both.

use futures::stream::{self, StreamExt};
use k8s_openapi::api::authentication::v1::SelfSubjectReview;
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec};
use kube::api::PostParams;
use kube::{Api, Client};

use super::finding::{Finding, Subject};

/// Concurrent reviews.
const CONCURRENCY: usize = 8;

/// The namespaces in which a right is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// In all namespaces, or for a cluster-scoped resource.
    Cluster,
    /// In each namespace that the operator reconciles.
    Watched,
    /// In the namespace of the Lease, if leader election is enabled.
    Lease,
    /// In the cluster, if the operator reconciles all namespaces.
    IfUnrestricted,
    /// In the cluster, if the operator serves metrics over TLS.
    IfSecureMetrics,
}

/// Verbs on a resource, and the name of the object if the right is limited to one.
struct Rule {
    place: Place,
    group: &'static str,
    resource: &'static str,
    subresource: Option<&'static str>,
    name: Option<Name>,
    verbs: &'static [&'static str],
}

#[derive(Clone, Copy)]
enum Name {
    Of(&'static str),
    /// The name of the Lease.
    Lease,
}

const GROUP: &str = "vpcpeering.dev";

const READ: &[&str] = &["get", "list", "watch"];

const fn rule(place: Place, group: &'static str, resource: &'static str, verbs: &'static [&'static str]) -> Rule {
    Rule { place, group, resource, subresource: None, name: None, verbs }
}

const fn status(place: Place, resource: &'static str, verbs: &'static [&'static str]) -> Rule {
    Rule { subresource: Some("status"), ..rule(place, GROUP, resource, verbs) }
}

/// Every right of the operator.
const RULES: &[Rule] = &[
    rule(Place::Watched, GROUP, "vpcpeerings", &["list", "watch", "patch"]),
    status(Place::Watched, "vpcpeerings", &["update"]),
    rule(Place::Watched, GROUP, "vpcpeeringaccepters", &["list", "watch", "patch"]),
    status(Place::Watched, "vpcpeeringaccepters", &["update"]),
    rule(Place::Watched, "events.k8s.io", "events", &["create", "patch"]),
    rule(Place::Watched, "ec2.services.k8s.aws", "vpcs", READ),
    rule(Place::Watched, "ec2.aws.m.upbound.io", "vpcs", READ),
    rule(Place::Watched, "infrastructure.cluster.x-k8s.io", "awsclusters", READ),
    rule(Place::Cluster, "ec2.aws.upbound.io", "vpcs", READ),
    rule(Place::Cluster, GROUP, "awsidentities", &["list", "watch"]),
    status(Place::IfUnrestricted, "awsidentities", &["patch"]),
    rule(Place::Cluster, "", "namespaces", &["list", "watch"]),
    Rule { name: Some(Name::Of("kube-system")), ..rule(Place::Cluster, "", "namespaces", &["get"]) },
    rule(Place::Lease, "coordination.k8s.io", "leases", &["create"]),
    Rule { name: Some(Name::Lease), ..rule(Place::Lease, "coordination.k8s.io", "leases", &["get", "patch"]) },
    rule(Place::IfSecureMetrics, "authentication.k8s.io", "tokenreviews", &["create"]),
    rule(Place::IfSecureMetrics, "authorization.k8s.io", "subjectaccessreviews", &["create"]),
];

/// The rights of the person who installs the chart.
const INSTALLATION: &[Rule] = &[
    rule(Place::Cluster, "apiextensions.k8s.io", "customresourcedefinitions", &["create", "patch"]),
    rule(Place::Cluster, "rbac.authorization.k8s.io", "clusterroles", &["create", "patch"]),
    rule(Place::Cluster, "rbac.authorization.k8s.io", "clusterrolebindings", &["create", "patch"]),
    rule(Place::Cluster, "admissionregistration.k8s.io", "validatingadmissionpolicies", &["create", "patch"]),
    rule(Place::Cluster, "admissionregistration.k8s.io", "validatingadmissionpolicybindings", &["create", "patch"]),
    rule(Place::Lease, "apps", "deployments", &["create", "patch"]),
];

/// The configuration of the operator that decides on its rights.
#[derive(Clone, Debug)]
pub(super) struct Needs {
    /// Empty for all namespaces.
    pub(super) watched: Vec<String>,
    /// The namespace and the name of the Lease, if leader election is enabled.
    pub(super) lease: Option<(String, String)>,
    /// Whether the operator serves metrics over TLS.
    pub(super) secure_metrics: bool,
}

/// One right.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Right {
    /// `None` for all namespaces and for cluster-scoped resources.
    namespace: Option<String>,
    verb: &'static str,
    group: &'static str,
    resource: &'static str,
    subresource: Option<&'static str>,
    name: Option<String>,
}

/// The rights of an operator, in the notation of `tests/chart/permissions.rs`: `SCOPE: VERB GROUP/RESOURCE/NAME`, where
/// the scope `everywhere` stands for all namespaces. `lease` is the namespace and the name of its Lease; `secure_metrics`
/// tells whether it serves metrics over TLS.
#[must_use]
pub fn listed(watched: &[&str], lease: Option<(&str, &str)>, secure_metrics: bool) -> Vec<String> {
    let watched = watched.iter().map(|name| (*name).to_owned()).collect();
    let lease = lease.map(|(namespace, name)| (namespace.to_owned(), name.to_owned()));
    let rights = expand(RULES, &Needs { watched, lease, secure_metrics });
    let text = |right: Right| {
        let scope = right.namespace.as_deref().unwrap_or("everywhere");
        let subresource = right.subresource.map(|name| format!("/{name}")).unwrap_or_default();
        let name = right.name.as_deref().unwrap_or("*");
        format!("{scope}: {} {}/{}{subresource}/{name}", right.verb, right.group, right.resource)
    };
    rights.into_iter().map(text).collect()
}

fn expand(rules: &[Rule], needs: &Needs) -> Vec<Right> {
    let is_restricted = !needs.watched.is_empty();
    let mut rights = Vec::new();
    for rule in rules {
        let namespaces = match (rule.place, &needs.lease) {
            (Place::Watched, _) if is_restricted => needs.watched.iter().cloned().map(Some).collect(),
            (Place::IfUnrestricted, _) if is_restricted => Vec::new(),
            (Place::Lease, None) => Vec::new(),
            (Place::IfSecureMetrics, _) if !needs.secure_metrics => Vec::new(),
            (Place::Lease, Some((namespace, _))) => vec![Some(namespace.clone())],
            (Place::Cluster | Place::Watched | Place::IfUnrestricted | Place::IfSecureMetrics, _) => vec![None],
        };
        let name = match rule.name {
            Some(Name::Of(name)) => Some(name.to_owned()),
            Some(Name::Lease) => needs.lease.as_ref().map(|(_, name)| name.clone()),
            None => None,
        };
        for namespace in namespaces {
            let right = |verb: &&'static str| Right {
                namespace: namespace.clone(),
                verb,
                group: rule.group,
                resource: rule.resource,
                subresource: rule.subresource,
                name: name.clone(),
            };
            rights.extend(rule.verbs.iter().map(right));
        }
    }
    rights
}

impl Right {
    /// The right in the words of `kubectl auth can-i`.
    fn text(&self) -> String {
        let group = Some(self.group).filter(|group| !group.is_empty()).map(|group| format!(".{group}"));
        let mut text = format!("{} {}{}", self.verb, self.resource, group.unwrap_or_default());
        if let Some(subresource) = self.subresource {
            text += &format!("/{subresource}");
        }
        if let Some(name) = &self.name {
            text += &format!(" {name}");
        }
        match &self.namespace {
            Some(namespace) => text + " in " + namespace,
            None => text,
        }
    }

    fn review(&self) -> SelfSubjectAccessReview {
        let attributes = ResourceAttributes {
            namespace: self.namespace.clone(),
            verb: Some(self.verb.to_owned()),
            group: Some(self.group.to_owned()),
            resource: Some(self.resource.to_owned()),
            subresource: self.subresource.map(str::to_owned),
            name: self.name.clone(),
            ..ResourceAttributes::default()
        };
        let spec = SelfSubjectAccessReviewSpec { resource_attributes: Some(attributes), ..Default::default() };
        SelfSubjectAccessReview { spec, ..Default::default() }
    }
}

/// Asks the API server for each right of the operator. `operator` is the name of the service account, if known.
pub(super) async fn check(client: &Client, needs: &Needs) -> Vec<Finding> {
    let user = user(client).await;
    let mut findings =
        review_all(client, RULES, needs, &user, "upgrade the chart, or apply deploy/base/rbac.yaml").await;
    if !user.starts_with("system:serviceaccount:") {
        findings.push(Finding::skip(
            Subject::Rights,
            format!("these are the rights of {user}, not of the operator"),
            "set --as=system:serviceaccount:NAMESPACE:NAME to check those of its service account",
        ));
    }
    findings
}

/// Asks the API server for each right that the installation needs.
pub(super) async fn check_installation(client: &Client, needs: &Needs) -> Vec<Finding> {
    let user = user(client).await;
    review_all(client, INSTALLATION, needs, &user, "install as a user with the role cluster-admin").await
}

async fn review_all(client: &Client, rules: &[Rule], needs: &Needs, user: &str, remedy: &str) -> Vec<Finding> {
    let api = Api::<SelfSubjectAccessReview>::all(client.clone());
    let review = async |right: Right| {
        let text = right.text();
        match api.create(&PostParams::default(), &right.review()).await {
            Ok(answer) if answer.status.as_ref().is_some_and(|status| status.allowed) => {
                Finding::pass(Subject::Rights, text)
            }
            Ok(_) => Finding::fail(Subject::Rights, format!("{user} may not {text}"), remedy),
            Err(error) => {
                let message = format!("cannot ask the API server whether {user} may {text}: {error}");
                Finding::fail(Subject::Rights, message, "allow this user to create selfsubjectaccessreviews")
            }
        }
    };
    stream::iter(expand(rules, needs)).map(review).buffered(CONCURRENCY).collect().await
}

/// The name of the user.
async fn user(client: &Client) -> String {
    let api = Api::<SelfSubjectReview>::all(client.clone());
    let answer = api.create(&PostParams::default(), &SelfSubjectReview::default()).await.ok();
    let name = answer.and_then(|answer| answer.status?.user_info?.username);
    name.unwrap_or_else(|| "this user".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_restricted_operator_has_rights_in_its_namespaces_only() {
        let rights = listed(&["a", "b"], Some(("operators", "lease")), false);
        for expected in [
            "a: patch vpcpeering.dev/vpcpeerings/*",
            "b: update vpcpeering.dev/vpcpeerings/status/*",
            "everywhere: get /namespaces/kube-system",
            "operators: create coordination.k8s.io/leases/*",
            "operators: patch coordination.k8s.io/leases/lease",
        ] {
            assert!(rights.iter().any(|right| right == expected), "{expected}: {rights:#?}");
        }
        assert!(!rights.iter().any(|right| right.contains("awsidentities/status")));
        let everywhere = listed(&[], None, false);
        assert!(everywhere.contains(&"everywhere: patch vpcpeering.dev/awsidentities/status/*".to_owned()));
        assert!(!everywhere.iter().any(|right| right.contains("leases") || right.contains("reviews")));
        assert!(
            listed(&[], None, true).iter().any(|right| right.contains("create authentication.k8s.io/tokenreviews"))
        );
    }

    #[test]
    fn a_right_reads_like_kubectl_auth_can_i() {
        let needs = Needs {
            watched: vec!["a".into()],
            lease: Some(("operators".into(), "lease".into())),
            secure_metrics: false,
        };
        let texts: Vec<_> = expand(RULES, &needs).iter().map(Right::text).collect();
        for expected in [
            "update vpcpeerings.vpcpeering.dev/status in a",
            "get namespaces kube-system",
            "patch leases.coordination.k8s.io lease in operators",
        ] {
            assert!(texts.iter().any(|text| text == expected), "{texts:#?}");
        }
    }
}
