//! The result of one check.

use serde::Serialize;

pub(super) use crate::cli::output::Verdict;

/// The subjects of the checks. Each has a heading in `docs/checks.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Subject {
    ApiServer,
    Crds,
    Rights,
    Credentials,
    Identities,
    Clocks,
    EventQueue,
    Lease,
    Probes,
}

impl Subject {
    #[cfg(test)]
    pub(super) const ALL: [Self; 9] = [
        Self::ApiServer,
        Self::Crds,
        Self::Rights,
        Self::Credentials,
        Self::Identities,
        Self::Clocks,
        Self::EventQueue,
        Self::Lease,
        Self::Probes,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::ApiServer => "API server",
            Self::Crds => "CRDs",
            Self::Rights => "RBAC",
            Self::Credentials => "AWS credentials",
            Self::Identities => "AwsIdentity",
            Self::Clocks => "clock",
            Self::EventQueue => "event queue",
            Self::Lease => "leader election",
            Self::Probes => "probes",
        }
    }

    /// The heading that explains the check.
    pub(super) fn docs(self) -> &'static str {
        match self {
            Self::ApiServer => "docs/checks.md#api-server",
            Self::Crds => "docs/checks.md#crds",
            Self::Rights => "docs/checks.md#rbac",
            Self::Credentials => "docs/checks.md#aws-credentials",
            Self::Identities => "docs/checks.md#awsidentity",
            Self::Clocks => "docs/checks.md#clock",
            Self::EventQueue => "docs/checks.md#event-queue",
            Self::Lease => "docs/checks.md#leader-election",
            Self::Probes => "docs/checks.md#probes",
        }
    }
}

/// The result of one check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    pub(super) check: &'static str,
    pub(super) verdict: Verdict,
    pub(super) message: String,
    /// The next step of the reader.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) remedy: Option<String>,
    pub(super) docs: &'static str,
}

impl Finding {
    pub(super) fn pass(subject: Subject, message: impl Into<String>) -> Self {
        Self::new(subject, Verdict::Pass, message.into(), None)
    }

    pub(super) fn fail(subject: Subject, message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::new(subject, Verdict::Fail, message.into(), Some(remedy.into()))
    }

    pub(super) fn skip(subject: Subject, message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::new(subject, Verdict::Skip, message.into(), Some(remedy.into()))
    }

    fn new(subject: Subject, verdict: Verdict, message: String, remedy: Option<String>) -> Self {
        Self { check: subject.name(), verdict, message, remedy, docs: subject.docs() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_link_names_a_heading() {
        let page = include_str!("../../../docs/checks.md");
        let headings: Vec<_> = page.lines().filter_map(|line| line.strip_prefix("## ")).map(slug).collect();
        for subject in Subject::ALL {
            let anchor = subject.docs().strip_prefix("docs/checks.md#").unwrap_or_default();
            assert!(headings.iter().any(|heading| heading == anchor), "{}: {headings:?}", subject.docs());
        }
        assert_eq!(headings.len(), Subject::ALL.len());
    }

    /// The anchor of a heading, as GitHub builds it.
    fn slug(heading: &str) -> String {
        let kept = heading.chars().filter(|letter| letter.is_alphanumeric() || " -_".contains(*letter));
        kept.collect::<String>().to_lowercase().replace(' ', "-")
    }
}
