"""Lints IAM policies with parliament. Usage: lint_policies.py FILE..."""

import json
import sys

from parliament import analyze_policy_string, enhance_finding, is_arn_match

# Maximum characters of a customer managed policy, without white space:
# https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html
MAX_LENGTH = 6144

# A self-test: the linter must report an unknown action, an unsupported condition key and a wrong resource type.
INVALID = [
    {"Effect": "Allow", "Action": "ec2:AcceptVpcPeering", "Resource": "*"},
    {
        "Effect": "Allow",
        "Action": "ec2:DeleteTags",
        "Resource": "*",
        "Condition": {"ArnLike": {"ec2:AccepterVpc": "arn:aws:ec2:*:*:vpc/*"}},
    },
    {"Effect": "Allow", "Action": "ec2:RejectVpcPeeringConnection", "Resource": "arn:aws:ec2:*:*:vpc/*"},
]


def as_list(value):
    return value if isinstance(value, list) else [value]


def covers(statements, action, required):
    """Whether a statement allows the action on the resource. Each resource may have a statement of its own."""
    return any(
        statement["Effect"] == "Allow"
        and action in as_list(statement["Action"])
        and is_arn_match("", required, resource)
        for statement in statements
        for resource in as_list(statement["Resource"])
    )


def lint(policy):
    # A trust policy names no resource, because it applies to its own role. parliament requires one.
    statements = [
        {"Resource": "arn:aws:iam::111111111111:role/own", **statement} if "Principal" in statement else statement
        for statement in policy["Statement"]
    ]
    found = analyze_policy_string(json.dumps({**policy, "Statement": statements}))
    for finding in map(enhance_finding, found.findings):
        detail = finding.detail
        if finding.issue == "RESOURCE_MISMATCH":
            detail = [one for one in detail if not covers(statements, one["action"], one["required_format"])]
            if not detail:
                continue
        yield f"{finding.issue}: {finding.title}: {detail} {finding.location}"
    if len(json.dumps(policy, separators=(",", ":"))) > MAX_LENGTH:
        yield f"longer than {MAX_LENGTH} characters"


def main(files):
    for statement in INVALID:
        if not list(lint({"Version": "2012-10-17", "Statement": [statement]})):
            sys.exit(f"self-test failed: the linter reports nothing for {statement}")
    findings = []
    for file in files:
        with open(file, encoding="utf-8") as policy:
            findings += [f"{file}: {finding}" for finding in lint(json.load(policy))]
    if findings or not files:
        sys.exit("\n".join(findings) or "usage: lint_policies.py FILE...")


main(sys.argv[1:])
