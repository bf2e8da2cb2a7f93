//! The `removed` blocks for Terraform. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use super::model::{Inventory, Part};

/// The `removed` blocks that make Terraform forget the resources of the imported connections without destroying them.
/// A block cannot name one instance of a resource, so that a resource with other instances needs `terraform state rm`.
/// <https://developer.hashicorp.com/terraform/language/state/remove>
pub(super) fn removed(inventory: &Inventory, taken: &BTreeSet<Part>) -> String {
    let mut resources: BTreeMap<String, Vec<(&String, bool)>> = BTreeMap::new();
    for (address, part) in &inventory.terraform {
        let is_taken = part.as_ref().is_some_and(|part| taken.contains(part));
        resources.entry(without_keys(address)).or_default().push((address, is_taken));
    }
    let mut text = String::new();
    for (address, instances) in resources {
        if instances.iter().all(|(_, is_taken)| *is_taken) {
            let separator = if text.is_empty() { "" } else { "\n" };
            _ = write!(
                text,
                "{separator}removed {{\n  from = {address}\n\n  lifecycle {{\n    destroy = false\n  }}\n}}\n"
            );
            continue;
        }
        for (instance, _) in instances.iter().filter(|(_, is_taken)| *is_taken) {
            let quoted = instance.replace('\'', "'\\''").replace(['\n', '\r'], " ");
            _ = writeln!(text, "# {address} has other instances; run: terraform state rm '{quoted}'");
        }
    }
    text
}

/// An address without instance keys, and without characters that HCL does not allow in one.
pub(super) fn without_keys(address: &str) -> String {
    let (mut plain, mut is_quoted, mut depth) = (String::new(), false, 0_usize);
    for char in address.chars() {
        match char {
            '"' => is_quoted = !is_quoted,
            _ if is_quoted => {}
            '[' => depth += 1,
            ']' => depth = depth.saturating_sub(1),
            _ if depth == 0 && (char.is_alphanumeric() || matches!(char, '.' | '_' | '-')) => plain.push(char),
            _ => {}
        }
    }
    plain
}
