//! At rest the operator writes nothing.

use std::collections::BTreeMap;

use super::{Call, Violation};

const INVARIANT: &str = "an operator at rest writes nothing";

/// The resource version of each object by its kind, namespace and name.
pub type Versions = BTreeMap<String, String>;

/// Checks the calls during the rest, and the versions of all resources before and after it.
pub fn check(calls: &[Call], before: &Versions, after: &Versions) -> Vec<Violation> {
    let changes = calls.iter().filter(|call| call.is_change()).map(|call| Violation {
        invariant: INVARIANT,
        message: format!("a call that changes something: {}", call.line()),
        about: call.entry.parameters.values().filter(|value| value.starts_with("pcx-")).cloned().collect(),
    });
    let names = before.keys().chain(after.keys().filter(|name| !before.contains_key(*name)));
    let writes = names.filter(|name| before.get(*name) != after.get(*name)).map(|name| Violation {
        invariant: INVARIANT,
        message: format!("{name} changed from version {:?} to {:?}", before.get(name), after.get(name)),
        about: vec![name.rsplit('/').next().unwrap_or_default().to_owned()],
    });
    changes.chain(writes).collect()
}

#[cfg(test)]
mod tests {
    use super::super::tests::call;
    use super::*;

    #[test]
    fn a_call_and_a_write_are_found() {
        let versions = |version: &str| Versions::from([("VpcPeering/a/r1".to_owned(), version.to_owned())]);
        let reads = [call("DescribeVpcs", &[]), call("AssumeRole", &[]), call("GetCallerIdentity", &[])];
        assert_eq!(check(&reads, &versions("1"), &versions("1")).len(), 0);
        assert_eq!(check(&[call("CreateTags", &[])], &versions("1"), &versions("1")).len(), 1);
        assert_eq!(check(&[], &versions("1"), &versions("2")).len(), 1);
        assert_eq!(check(&[], &versions("1"), &Versions::new()).len(), 1);
        assert_eq!(check(&[], &Versions::new(), &versions("1")).len(), 1);
    }
}
