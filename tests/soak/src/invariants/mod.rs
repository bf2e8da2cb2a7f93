//! The invariants. Each is a pure function of the state of EC2, the journal and the record of the test, so that a unit
//! test can show that it finds a violation.

pub mod convergence;
pub mod foreign;
pub mod orphans;
pub mod permission;
pub mod rest;
pub mod steadiness;
pub mod two_peerings;

use std::fmt;

use ec2_simulator::journal::Entry;

/// A violated invariant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The invariant, as a sentence.
    pub invariant: &'static str,
    /// The objects that violate it.
    pub message: String,
    /// The strings by which the relevant lines of the journal are found.
    pub about: Vec<String>,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.invariant, self.message)
    }
}

/// A call of the operator, with the time at which the test read it, in seconds of the run.
#[derive(Clone, Debug)]
pub struct Call {
    pub time: f64,
    pub entry: Entry,
}

impl Call {
    /// Whether the call changes something in EC2, if it succeeds.
    pub fn is_change(&self) -> bool {
        let reads = ["Describe", "Get", "AssumeRole"];
        !reads.iter().any(|read| self.entry.action.starts_with(read)) && !self.is_dry_run()
    }

    fn is_dry_run(&self) -> bool {
        self.entry.parameters.get("DryRun").is_some_and(|value| value == "true")
    }

    /// Whether the call had its effect, even if its answer was lost.
    pub fn had_effect(&self) -> bool {
        self.entry.status == 200
    }

    /// Whether a parameter has this value.
    pub fn names(&self, value: &str) -> bool {
        self.entry.parameters.values().any(|other| other == value)
    }

    /// One line for a person.
    pub fn line(&self) -> String {
        let Entry { time, action, parameters, status, code, faults, session, account, region, .. } = &self.entry;
        let session = session.as_ref().map(|session| format!("{} {:?}", session.role, session.tags));
        format!(
            "{:.1} s, EC2's clock {time}: {action} {parameters:?} → {status} {code:?} faults {faults:?} \
             by {account:?} {session:?} in {region}",
            self.time
        )
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use ec2_simulator::journal::Entry;
    use k8s_openapi::jiff::Timestamp;

    use super::Call;

    /// A successful call with these parameters.
    pub fn call(action: &str, parameters: &[(&str, &str)]) -> Call {
        let parameters = parameters.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let entry = Entry {
            time: Timestamp::UNIX_EPOCH,
            account: Some("111111111111".into()),
            access_key_id: Some("operator".into()),
            arn: None,
            session: None,
            region: "eu-central-1".into(),
            action: action.into(),
            parameters,
            status: 200,
            code: None,
            allowed_by: Vec::new(),
            denied: None,
            faults: Vec::new(),
            request_id: "1".into(),
        };
        Call { time: 100.0, entry }
    }
}
