//! The Service Authorization Reference for the actions that the operator uses: the resource types of each action, and the
//! condition keys of each resource type. A key that it does not list is not in the request, so a
//! condition on it is never met.
//! <https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonec2.html>
//! <https://docs.aws.amazon.com/service-authorization/latest/reference/list_awssecuritytokenservice.html>
//! <https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonsqs.html>

use super::policy::{Policy, Statement};

/// An action of the reference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Action {
    /// With its service's prefix.
    pub name: &'static str,
    /// Its resource types, as far as the simulator has them. An action without any is authorized on `*`.
    pub resources: &'static [Resource],
    /// The keys that go with the action itself.
    pub keys: &'static [&'static str],
}

/// A type of resource, for one action.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resource {
    /// Such as `vpc`.
    pub kind: &'static str,
    /// The keys that go with it.
    pub keys: &'static [&'static str],
}

const VPC: Resource =
    Resource { kind: "vpc", keys: &["aws:ResourceTag/", "ec2:ResourceTag/", "ec2:Tenancy", "ec2:VpcID"] };

const CONNECTION: Resource = Resource {
    kind: "vpc-peering-connection",
    keys: &[
        "aws:ResourceTag/",
        "ec2:AccepterVpc",
        "ec2:RequesterVpc",
        "ec2:ResourceTag/",
        "ec2:VpcPeeringConnectionID",
    ],
};

const ROUTE_TABLE: Resource =
    Resource { kind: "route-table", keys: &["aws:ResourceTag/", "ec2:ResourceTag/", "ec2:RouteTableID", "ec2:Vpc"] };

const ROLE: Resource = Resource { kind: "role", keys: &[] };
const QUEUE: Resource = Resource { kind: "queue", keys: &[] };

const REGION: &[&str] = &["ec2:Region"];
const UNTAGGED: &[&str] = &["aws:RequestTag/", "aws:ResourceTag/", "aws:TagKeys", "ec2:ResourceTag/"];

/// The actions, by their names.
pub const ACTIONS: &[Action] = &[
    Action { name: "ec2:AcceptVpcPeeringConnection", resources: &[VPC, CONNECTION], keys: REGION },
    Action { name: "ec2:CreateRoute", resources: &[ROUTE_TABLE], keys: REGION },
    Action {
        name: "ec2:CreateTags",
        resources: &[
            Resource {
                kind: "route-table",
                keys: &[
                    "aws:RequestTag/",
                    "aws:ResourceTag/",
                    "aws:TagKeys",
                    "ec2:ResourceTag/",
                    "ec2:RouteTableID",
                    "ec2:Vpc",
                ],
            },
            Resource {
                kind: "vpc",
                keys: &[
                    "aws:RequestTag/",
                    "aws:ResourceTag/",
                    "aws:TagKeys",
                    "ec2:ResourceTag/",
                    "ec2:Tenancy",
                    "ec2:VpcID",
                ],
            },
            Resource {
                kind: "vpc-peering-connection",
                keys: &[
                    "aws:RequestTag/",
                    "aws:ResourceTag/",
                    "aws:TagKeys",
                    "ec2:AccepterVpc",
                    "ec2:RequesterVpc",
                    "ec2:ResourceTag/",
                    "ec2:VpcPeeringConnectionID",
                ],
            },
        ],
        keys: &["ec2:CreateAction", "ec2:Region"],
    },
    Action {
        name: "ec2:CreateVpcPeeringConnection",
        resources: &[
            VPC,
            Resource {
                kind: "vpc-peering-connection",
                keys: &[
                    "aws:RequestTag/",
                    "aws:TagKeys",
                    "ec2:AccepterVpc",
                    "ec2:RequesterVpc",
                    "ec2:VpcPeeringConnectionID",
                ],
            },
        ],
        keys: REGION,
    },
    Action { name: "ec2:DeleteRoute", resources: &[ROUTE_TABLE], keys: REGION },
    Action {
        name: "ec2:DeleteTags",
        resources: &[
            Resource { kind: "route-table", keys: UNTAGGED },
            Resource { kind: "vpc", keys: UNTAGGED },
            Resource { kind: "vpc-peering-connection", keys: UNTAGGED },
        ],
        keys: &["aws:TagKeys", "ec2:Region"],
    },
    Action { name: "ec2:DeleteVpcPeeringConnection", resources: &[CONNECTION], keys: REGION },
    Action { name: "ec2:DescribeRouteTables", resources: &[], keys: REGION },
    Action { name: "ec2:DescribeVpcPeeringConnections", resources: &[], keys: REGION },
    Action { name: "ec2:DescribeVpcs", resources: &[], keys: REGION },
    Action {
        name: "ec2:ModifyVpcPeeringConnectionOptions",
        resources: &[Resource {
            kind: "vpc-peering-connection",
            keys: &[
                "aws:ResourceTag/",
                "ec2:AccepterVpc",
                "ec2:Attribute",
                "ec2:Attribute/",
                "ec2:RequesterVpc",
                "ec2:ResourceTag/",
                "ec2:VpcPeeringConnectionID",
            ],
        }],
        keys: REGION,
    },
    Action { name: "ec2:RejectVpcPeeringConnection", resources: &[CONNECTION], keys: REGION },
    Action { name: "ec2:ReplaceRoute", resources: &[ROUTE_TABLE], keys: REGION },
    Action { name: "sqs:DeleteMessage", resources: &[QUEUE], keys: &[] },
    Action { name: "sqs:ReceiveMessage", resources: &[QUEUE], keys: &[] },
    Action {
        name: "sts:AssumeRole",
        resources: &[ROLE],
        // Those of web identities and SAML left out.
        keys: &[
            "aws:RequestTag/",
            "aws:TagKeys",
            "iam:ResourceTag/",
            "sts:ExternalId",
            "sts:RoleSessionName",
            "sts:SourceIdentity",
            "sts:TransitiveTagKeys",
        ],
    },
    Action {
        name: "sts:TagSession",
        resources: &[ROLE],
        keys: &["aws:RequestTag/", "aws:TagKeys", "sts:TransitiveTagKeys"],
    },
];

/// The global keys that this simulator puts into every request.
/// <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_condition-keys.html>
pub const GLOBAL: &[&str] = &[
    "aws:PrincipalAccount",
    "aws:PrincipalArn",
    "aws:PrincipalIsAWSService",
    "aws:PrincipalTag/",
    "aws:RequestedRegion",
];

/// The action of this name.
#[must_use]
pub fn action(name: &str) -> Option<&'static Action> {
    ACTIONS.iter().find(|action| action.name.eq_ignore_ascii_case(name))
}

impl Action {
    /// Whether requests for this action on this type of resource have this key.
    #[must_use]
    pub fn lists(&self, kind: &str, key: &str) -> bool {
        let of_kind = self.resources.iter().filter(|resource| resource.kind == kind).flat_map(|resource| resource.keys);
        self.keys.iter().chain(of_kind).chain(GLOBAL).any(|listed| is_of(listed, key))
    }
}

/// Whether a key is this one; one that ends with a slash stands for one of each tag.
fn is_of(listed: &str, key: &str) -> bool {
    match listed.strip_suffix('/') {
        Some(_) => {
            let start = key.get(..listed.len());
            start.is_some_and(|start| start.eq_ignore_ascii_case(listed)) && key.len() > listed.len()
        }
        None => listed.eq_ignore_ascii_case(key),
    }
}

/// Parts of a policy that can never have an effect: actions that are not authorized on any of the statement's resources, and
/// condition keys that are never in the request.
#[must_use]
pub fn problems(policy: &Policy) -> Vec<String> {
    policy.statements.iter().flat_map(problems_of).collect()
}

fn problems_of(statement: &Statement) -> Vec<String> {
    let sid = &statement.sid;
    let mut problems = Vec::new();
    for pattern in &statement.actions {
        let Some(action) = action(pattern.text()) else {
            problems.push(format!("{sid}: the table does not know {}", pattern.text()));
            continue;
        };
        let kinds: Vec<_> = match action.resources {
            // Only `*`.
            [] => vec![""],
            resources => resources.iter().map(|one| one.kind).filter(|kind| can_be(statement, kind)).collect(),
        };
        if kinds.is_empty() {
            problems.push(format!("{sid}: {} is authorized on none of its resources", action.name));
        }
        let keys = statement.conditions.iter().flat_map(|condition| condition.keys());
        for key in keys {
            for kind in kinds.iter().filter(|kind| !action.lists(kind, key)) {
                problems.push(format!("{sid}: {} on {kind} has no key {key}", action.name));
            }
        }
    }
    problems
}

/// Whether one of the statement's resources can be of this type. A trust policy is about its own role.
fn can_be(statement: &Statement, kind: &str) -> bool {
    statement.resources.is_empty()
        || statement.resources.iter().any(|pattern| {
            let last = pattern.text().splitn(6, ':').nth(5).unwrap_or(pattern.text());
            last == "*" || kind == "queue" || last.split_once('/').is_some_and(|(start, _)| start == kind)
        })
}
