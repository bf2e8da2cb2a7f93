"""Lints IAM policies with parliament: lint_policies.py FILE..."""

import json
import sys

from parliament import analyze_policy_string, enhance_finding, is_arn_match

# A customer managed policy has at most this many characters, white space apart.
# https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html
LONGEST = 6144

# The linter must find what is wrong here: an action, a condition key and a resource that do not exist.
BAD = [
    {"Effect": "Allow", "Action": "ec2:AcceptVpcPeering", "Resource": "*"},
    {
        "Effect": "Allow",
        "Action": "ec2:DeleteTags",
        "Resource": "*",
        "Condition": {"ArnLike": {"ec2:AccepterVpc": "arn:aws:ec2:*:*:vpc/*"}},
    },
    {"Effect": "Allow", "Action": "ec2:RejectVpcPeeringConnection", "Resource": "arn:aws:ec2:*:*:vpc/*"},
]


def listed(value):
    return value if isinstance(value, list) else [value]


def covers(statements, action, required):
    """Whether some statement allows the action on the resource: each of its resources may have a statement of its own."""
    return any(
        action in listed(statement["Action"]) and statement["Effect"] == "Allow" and is_arn_match("", required, resource)
        for statement in statements
        for resource in listed(statement["Resource"])
    )


def lint(policy):
    # A trust policy is about its own role, and names no resource; parliament asks for one.
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
    if len(json.dumps(policy, separators=(",", ":"))) > LONGEST:
        yield f"longer than {LONGEST} characters"


def main(files):
    for statement in BAD:
        if not list(lint({"Version": "2012-10-17", "Statement": [statement]})):
            sys.exit(f"the linter does not find what is wrong with {statement}")
    findings = []
    for file in files:
        with open(file, encoding="utf-8") as policy:
            findings += [f"{file}: {finding}" for finding in lint(json.load(policy))]
    if findings or not files:
        sys.exit("\n".join(findings) or "no files")


main(sys.argv[1:])
