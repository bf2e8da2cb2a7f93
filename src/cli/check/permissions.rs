//! The EC2 permissions of one account in each region, by dry runs. A dry run changes nothing.
//!
//! IAM policies have conditions on tags, so that a dry run of a write needs a real connection: one that the operator
//! manages. Without one, only the read calls are checked.

use std::collections::BTreeMap;

use super::finding::{Finding, Subject};
use super::usage::{Sample, Use};
use crate::api::Side;
use crate::aws::{Account, Permission};
use crate::peering::routes::RouteChange;
use crate::peering::{CreateRequest, Ec2Call, Owner};

type Answers = Vec<(&'static str, Permission)>;

/// Checks each region. `who` names the identity in messages.
pub(super) async fn check(
    account: &Account,
    subject: Subject,
    who: &str,
    uses: &BTreeMap<String, Use>,
    cluster: &str,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (region, usage) in uses {
        let mut answers = Answers::from(account.ec2().dry_run_reads(region).await);
        if let Some(id) = &usage.prefix_list {
            answers.extend(account.ec2().dry_run_prefix_list_reads(region, id).await);
        }
        let samples = [(Side::Requester, &usage.requester), (Side::Accepter, &usage.accepter)];
        for (side, sample) in samples {
            if let Some(sample) = sample {
                answers.extend(writes(account, region, side, sample, cluster).await);
            }
        }
        let has_sample = samples.iter().any(|(_, sample)| sample.is_some());
        findings.extend(judge(subject, who, region, &answers, has_sample));
    }
    findings
}

async fn writes(account: &Account, region: &str, side: Side, sample: &Sample, cluster: &str) -> Answers {
    let owner = Owner {
        cluster: cluster.to_owned(),
        namespace: sample.namespace.clone(),
        name: sample.name.clone(),
        uid: sample.uid.clone(),
    };
    let tags: BTreeMap<_, _> = owner.tags().map(|(key, value)| (key.to_owned(), value.to_owned())).into();
    let id = || sample.id.clone();
    let mut calls = vec![Ec2Call::Tag { id: id(), tags: tags.clone() }];
    match side {
        Side::Requester => {
            calls.push(Ec2Call::Create(CreateRequest {
                region: region.to_owned(),
                vpc_id: sample.vpc_id.clone(),
                peer_vpc_id: sample.peer_vpc_id.clone(),
                peer_owner_id: sample.peer_owner_id.clone(),
                peer_region: sample.peer_region.clone(),
                tags,
            }));
            calls.push(Ec2Call::Delete { id: id() });
        }
        Side::Accepter if sample.code == "pending-acceptance" => calls.push(Ec2Call::Accept { id: id() }),
        Side::Accepter => {}
    }
    calls.extend(sample.allow_dns.map(|allow| Ec2Call::SetOptions {
        id: id(),
        side,
        allow_dns_resolution_from_remote_vpc: allow,
    }));
    // A `ReplaceRoute` that changes nothing.
    calls.extend(sample.route.clone().map(|route| Ec2Call::ChangeRoute(RouteChange::Replace(route))));
    let (ec2, mut answers) = (account.acting_for(&owner), Answers::new());
    for call in calls {
        answers.extend(ec2.dry_run(region, &call).await.map(|permission| (call.action(), permission)));
    }
    answers
}

fn judge(subject: Subject, who: &str, region: &str, answers: &Answers, has_sample: bool) -> Vec<Finding> {
    let (mut granted, mut findings) = (Vec::new(), Vec::new());
    for (action, permission) in answers {
        match permission {
            Permission::Granted => granted.push(*action),
            Permission::Denied(error) => findings.push(Finding::fail(
                subject,
                format!("{who}: {action} in {region} is refused: {error}"),
                format!("allow ec2:{action} as the policies in deploy/iam do"),
            )),
            Permission::Unknown(error) => findings.push(Finding::skip(
                subject,
                format!("{who}: EC2 did not decide on {action} in {region}: {error}"),
                "repeat the check later, or check that the region is enabled",
            )),
        }
    }
    granted.sort_unstable();
    granted.dedup();
    if !granted.is_empty() {
        let note = if has_sample { "" } else { "; writes were not checked, because no connection is managed here" };
        let message = format!("{who}: may call {} in {region}{note}", granted.join(", "));
        findings.insert(0, Finding::pass(subject, message));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::super::finding::Verdict;
    use super::*;
    use crate::aws::AwsError;

    #[test]
    fn each_refused_action_has_a_line() {
        let error = AwsError::incomplete("CreateTags", "not authorized");
        let answers = vec![
            ("DescribeVpcs", Permission::Granted),
            ("CreateTags", Permission::Denied(error.clone())),
            ("DeleteVpcPeeringConnection", Permission::Unknown(error)),
        ];
        let findings = judge(Subject::Identities, "partner", "eu-central-1", &answers, false);
        let verdicts: Vec<_> = findings.iter().map(|finding| finding.verdict).collect();
        assert_eq!(verdicts, [Verdict::Pass, Verdict::Fail, Verdict::Skip]);
        assert!(findings[0].message.starts_with("partner: may call DescribeVpcs in eu-central-1; writes were not"));
        assert!(findings[1].message.starts_with("partner: CreateTags in eu-central-1 is refused: "));
    }
}
