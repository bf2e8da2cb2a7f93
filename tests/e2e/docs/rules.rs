//! How a block of the documentation is tested, where that does not follow from the block itself.

/// Pages that the code writes, and a page with a test of its own.
pub const TESTED_ELSEWHERE: [(&str, &str); 4] = [
    ("docs/cli.md", "generated; `cli::snapshots`"),
    ("docs/conditions.md", "generated; `api::condition`"),
    ("docs/metrics.md", "generated; `operator::metrics`"),
    ("docs/migrate.md", "`cli::import::migrate::each_command_of_the_guide_works`"),
];

/// A command or a whole block that does not run.
pub struct Exception {
    pub page: &'static str,
    /// The start of the command or of the block.
    pub start: &'static str,
    pub reason: &'static str,
}

const fn except(page: &'static str, start: &'static str, reason: &'static str) -> Exception {
    Exception { page, start, reason }
}

pub const EXCEPTIONS: &[Exception] = &[
    except("docs/performance.md", "make bench", "takes many minutes; it prints the figures of the page"),
    except("docs/references.md", "kubectl annotate vpcs.ec2.services.k8s.aws", "needs the CRDs of ACK"),
    except("docs/security-groups.md", "resource \"aws_vpc_security_group_ingress_rule\"", "needs Terraform's provider"),
    except("docs/security-groups.md", "apiVersion: ec2.services.k8s.aws", "needs the CRDs of ACK"),
    except("docs/security-groups.md", "apiVersion: ec2.aws.upbound.io", "needs the CRDs of Crossplane"),
];

/// Texts that a reader replaces, and the values that the test gives them. A name in capitals is replaced only if it is
/// neither a variable (`$OWNER`) nor the name of an assignment (`OWNER=`).
pub const PLACEHOLDERS: [(&str, &str); 14] = [
    ("NAMESPACE/NAME", "default/orders-to-payments"),
    ("team/orders", "default/orders-to-payments"),
    ("<namespace>", "default"),
    ("<name>", "orders-to-payments"),
    ("<operator's>", "vpc-peering-system"),
    ("<operator>", "vpc-peering-operator"),
    ("<registry>", "registry.example.com"),
    ("<role>", "vpc-peering-operator"),
    ("<full name>", "vpc-peering-operator"),
    ("vVERSION", "v0.2.0"),
    ("VERSION", "0.2.0"),
    ("OWNER", "example"),
    ("REGISTRY", "registry.example.com"),
    ("MESSAGE", "encoded"),
];

/// Commands whose exit code tells a result, and their codes.
pub const EXIT_CODES: [(&str, &[i32]); 3] = [
    // 2: something changes. 1: a person has to act.
    ("kubectl pcx plan", &[0, 1, 2]),
    // 1: a check failed. The credentials of a reader are not those of the operator.
    ("kubectl pcx check", &[0, 1]),
    // 1: the packet does not arrive.
    ("kubectl pcx trace", &[0, 1]),
];

/// The text with its placeholders replaced.
pub fn filled(text: &str) -> String {
    PLACEHOLDERS.iter().fold(text.to_owned(), |text, (placeholder, value)| replaced(&text, placeholder, value))
}

fn replaced(text: &str, placeholder: &str, value: &str) -> String {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let (mut written, mut rest) = (String::new(), text);
    while let Some(start) = rest.find(placeholder) {
        let (before, after) = (&rest[..start], &rest[start + placeholder.len()..]);
        let previous = before.chars().next_back().or_else(|| written.chars().next_back());
        let is_name = placeholder.starts_with(is_word)
            && (previous.is_some_and(|c| is_word(c) || "${".contains(c))
                || after.starts_with(|c| is_word(c) || c == '='));
        written += before;
        written += if is_name { placeholder } else { value };
        rest = after;
    }
    written + rest
}
