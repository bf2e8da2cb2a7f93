//! The Service Authorization Reference for the actions that the operator uses: the resource types of each action, and
//! the condition keys of each resource type. The simulator adds only these keys to a request, as AWS does.
//! <https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonec2.html>
//! <https://docs.aws.amazon.com/service-authorization/latest/reference/list_awssecuritytokenservice.html>
//! <https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonsqs.html>
//! <https://docs.aws.amazon.com/service-authorization/latest/reference/list_servicequotas.html>

use super::policy::{Policy, Statement};

/// An action of the reference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Action {
    /// The name with the service prefix, such as `ec2:CreateTags`.
    pub name: &'static str,
    /// The resource types that the simulator supports. An action without resource types is authorized on `*`.
    pub resources: &'static [Resource],
    /// The condition keys of the action itself.
    pub keys: &'static [&'static str],
}

/// A resource type of one action.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resource {
    /// The resource type, such as `vpc`.
    pub kind: &'static str,
    /// The condition keys of the resource type.
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

const PREFIX_LIST: Resource = Resource { kind: "prefix-list", keys: &["aws:ResourceTag/", "ec2:ResourceTag/"] };

const ROLE: Resource = Resource { kind: "role", keys: &[] };
const QUEUE: Resource = Resource { kind: "queue", keys: &[] };

const REGION: &[&str] = &["ec2:Region"];
const DELETE_TAGS: &[&str] = &["aws:RequestTag/", "aws:ResourceTag/", "aws:TagKeys", "ec2:ResourceTag/"];

/// All actions, sorted by name.
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
            Resource { kind: "route-table", keys: DELETE_TAGS },
            Resource { kind: "vpc", keys: DELETE_TAGS },
            Resource { kind: "vpc-peering-connection", keys: DELETE_TAGS },
        ],
        keys: &["aws:TagKeys", "ec2:Region"],
    },
    Action { name: "ec2:DeleteVpcPeeringConnection", resources: &[CONNECTION], keys: REGION },
    Action { name: "ec2:DescribeManagedPrefixLists", resources: &[], keys: REGION },
    Action { name: "ec2:DescribeNetworkAcls", resources: &[], keys: REGION },
    Action { name: "ec2:DescribeNetworkInterfaces", resources: &[], keys: REGION },
    Action { name: "ec2:DescribeRouteTables", resources: &[], keys: REGION },
    Action { name: "ec2:DescribeSecurityGroupRules", resources: &[], keys: REGION },
    Action { name: "ec2:DescribeSecurityGroups", resources: &[], keys: REGION },
    Action { name: "ec2:DescribeStaleSecurityGroups", resources: &[], keys: REGION },
    Action { name: "ec2:DescribeSubnets", resources: &[], keys: REGION },
    Action { name: "ec2:DescribeVpcAttribute", resources: &[VPC], keys: REGION },
    Action { name: "ec2:DescribeVpcPeeringConnections", resources: &[], keys: REGION },
    Action { name: "ec2:DescribeVpcs", resources: &[], keys: REGION },
    Action { name: "ec2:GetManagedPrefixListEntries", resources: &[PREFIX_LIST], keys: REGION },
    Action {
        name: "ec2:ModifyVpcAttribute",
        resources: &[Resource {
            kind: "vpc",
            keys: &[
                "aws:ResourceTag/",
                "ec2:Attribute",
                "ec2:Attribute/",
                "ec2:ResourceTag/",
                "ec2:Tenancy",
                "ec2:VpcID",
            ],
        }],
        keys: REGION,
    },
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
    Action { name: "servicequotas:GetServiceQuota", resources: &[], keys: &[] },
    Action { name: "sqs:DeleteMessage", resources: &[QUEUE], keys: &[] },
    Action { name: "sqs:GetQueueAttributes", resources: &[QUEUE], keys: &[] },
    Action { name: "sqs:ReceiveMessage", resources: &[QUEUE], keys: &[] },
    Action {
        name: "sts:AssumeRole",
        resources: &[ROLE],
        // The keys of web identity federation and SAML are omitted.
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

/// The global condition keys that the simulator adds to every request.
/// <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_condition-keys.html>
const GLOBAL: &[&str] = &[
    "aws:PrincipalAccount",
    "aws:PrincipalArn",
    "aws:PrincipalIsAWSService",
    "aws:PrincipalTag/",
    "aws:RequestedRegion",
];

pub(crate) fn action(name: &str) -> Option<&'static Action> {
    ACTIONS.iter().find(|action| action.name.eq_ignore_ascii_case(name))
}

impl Action {
    /// Whether a request for this action on this resource type has this condition key.
    pub(crate) fn lists(&self, kind: &str, key: &str) -> bool {
        let of_kind = self.resources.iter().filter(|resource| resource.kind == kind).flat_map(|resource| resource.keys);
        self.keys.iter().chain(of_kind).chain(GLOBAL).any(|listed| matches_entry(listed, key))
    }
}

/// Whether a key matches an entry of the reference. An entry that ends with a slash matches every tag key.
fn matches_entry(listed: &str, key: &str) -> bool {
    match listed.strip_suffix('/') {
        Some(_) => {
            let start = key.get(..listed.len());
            start.is_some_and(|start| start.eq_ignore_ascii_case(listed)) && key.len() > listed.len()
        }
        None => listed.eq_ignore_ascii_case(key),
    }
}

/// Finds parts of a policy that have no effect: actions that are not authorized on any resource of their statement, and
/// condition keys that no request has.
#[must_use]
pub fn problems(policy: &Policy) -> Vec<String> {
    policy.statements.iter().flat_map(problems_of).collect()
}

fn problems_of(statement: &Statement) -> Vec<String> {
    let sid = &statement.sid;
    let mut problems = Vec::new();
    for pattern in &statement.actions {
        let Some(action) = action(pattern.text()) else {
            problems.push(format!("{sid}: the reference has no action {}", pattern.text()));
            continue;
        };
        let kinds: Vec<_> = match action.resources {
            // Authorized on `*` only.
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

/// Whether a resource of the statement can have this type. A trust policy applies to its own role.
fn can_be(statement: &Statement, kind: &str) -> bool {
    statement.resources.is_empty()
        || statement.resources.iter().any(|pattern| {
            let last = pattern.text().splitn(6, ':').nth(5).unwrap_or(pattern.text());
            last == "*" || kind == "queue" || last.split_once('/').is_some_and(|(start, _)| start == kind)
        })
}
