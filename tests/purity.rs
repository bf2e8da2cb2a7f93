//! The domain in `src/peering` is pure: it imports no Kubernetes client, no AWS SDK and no async runtime.

#![allow(clippy::expect_used)]

use std::path::Path;

/// The crates that the domain must not use. `k8s_openapi` has only types.
const FORBIDDEN: [&str; 9] =
    ["kube", "tokio", "aws_sdk_ec2", "aws_sdk_sts", "aws_sdk_sqs", "aws_config", "aws_smithy", "tracing", "futures"];

/// The modules of this crate above the domain.
const ABOVE: [&str; 4] = ["crate::aws", "crate::controller", "crate::operator", "crate::cli"];

fn violations(folder: &Path, found: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            violations(&path, found);
            continue;
        }
        let text = std::fs::read_to_string(&path).expect("a source file");
        for (line, text) in text.lines().enumerate().filter(|(_, text)| !text.trim_start().starts_with("//")) {
            let uses = |name: &&&str| {
                text.match_indices(**name).any(|(start, _)| {
                    let before = text[..start].chars().next_back().is_some_and(|c| c.is_alphanumeric() || c == '_');
                    let after = &text[start + name.len()..];
                    !before && (after.starts_with("::") || after.starts_with('_') && name.starts_with("aws"))
                })
            };
            if let Some(name) = FORBIDDEN.iter().chain(&ABOVE).find(uses) {
                found.push(format!("{}:{}: {name}", path.display(), line + 1));
            }
        }
    }
}

#[test]
fn the_domain_is_pure() {
    let mut found = Vec::new();
    violations(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src/peering"), &mut found);
    assert!(found.is_empty(), "src/peering must stay pure:\n{}", found.join("\n"));
}

#[test]
fn the_check_finds_an_import() {
    let mut found = Vec::new();
    violations(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src/controller"), &mut found);
    assert!(found.iter().any(|line| line.ends_with("kube")) && found.iter().any(|line| line.ends_with("tokio")));
}
