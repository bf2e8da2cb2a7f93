//! The Lease of the leader election.

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::{Api, Client};

use super::finding::{Finding, Subject};

const START: &str = "start the operator; look at its pods and logs";

/// Reads the Lease. If `is_expected` is false, a missing Lease is no failure.
pub(super) async fn check(client: &Client, namespace: &str, name: &str, is_expected: bool) -> Finding {
    let lease = Api::<Lease>::namespaced(client.clone(), namespace).get_opt(name).await;
    let missing = format!("there is no Lease {name} in the namespace {namespace}");
    match lease {
        Ok(Some(lease)) => judge(&lease, name, Timestamp::now()),
        Ok(None) if is_expected => Finding::fail(Subject::Lease, missing, START),
        Ok(None) => {
            let remedy =
                "set --namespace and --lease-name to those of the operator; without leader election, ignore this";
            Finding::skip(Subject::Lease, missing, remedy)
        }
        Err(error) => {
            let message = format!("cannot read the Lease {name} in the namespace {namespace}: {error}");
            Finding::skip(
                Subject::Lease,
                message,
                "allow this user to get it, or set --lease-name to the Lease of the operator",
            )
        }
    }
}

fn judge(lease: &Lease, name: &str, now: Timestamp) -> Finding {
    let spec = lease.spec.clone().unwrap_or_default();
    let Some(holder) = spec.holder_identity.filter(|holder| !holder.is_empty()) else {
        return Finding::fail(Subject::Lease, format!("nobody holds the Lease {name}"), START);
    };
    let Some(renewed) = spec.renew_time.map(|time| time.0) else {
        return Finding::fail(Subject::Lease, format!("{holder} has never renewed the Lease {name}"), START);
    };
    let duration = spec.lease_duration_seconds.unwrap_or_default();
    let age = now.duration_since(renewed);
    if age > SignedDuration::from_secs(duration.into()) {
        let message = format!(
            "the Lease {name} has expired: {holder} renewed it {} s ago, and it lasts {duration} s",
            age.as_secs()
        );
        return Finding::fail(Subject::Lease, message, START);
    }
    let age = age.as_secs().max(0);
    Finding::pass(Subject::Lease, format!("{holder} holds the Lease {name}, renewed {age} s ago"))
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::coordination::v1::LeaseSpec;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;

    use super::super::finding::Verdict;
    use super::*;

    #[test]
    fn only_a_fresh_lease_passes() {
        let now = Timestamp::UNIX_EPOCH + SignedDuration::from_secs(100);
        for (holder, renewed, verdict, text) in [
            ("pod-1", Some(95), Verdict::Pass, "pod-1 holds the Lease a, renewed 5 s ago"),
            ("pod-1", Some(80), Verdict::Fail, "the Lease a has expired: pod-1 renewed it 20 s ago, and it lasts 15 s"),
            ("pod-1", None, Verdict::Fail, "pod-1 has never renewed the Lease a"),
            ("", Some(95), Verdict::Fail, "nobody holds the Lease a"),
        ] {
            let renewed = renewed.map(|second| MicroTime(Timestamp::UNIX_EPOCH + SignedDuration::from_secs(second)));
            let spec = LeaseSpec {
                holder_identity: Some(holder.to_owned()),
                lease_duration_seconds: Some(15),
                renew_time: renewed,
                ..LeaseSpec::default()
            };
            let finding = judge(&Lease { spec: Some(spec), ..Lease::default() }, "a", now);
            assert_eq!((finding.verdict, finding.message.as_str()), (verdict, text));
        }
    }
}
