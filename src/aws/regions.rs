//! The AWS regions that this release knows.

/// Every region of every partition, sorted. The source is the JSON in `src/endpoint_lib.rs` of aws-sdk-ec2, without the
/// pseudo-regions that end with `-global`. A test fails if an update of the SDK changes the source.
pub const KNOWN: &[&str] = &[
    "af-south-1",
    "ap-east-1",
    "ap-east-2",
    "ap-northeast-1",
    "ap-northeast-2",
    "ap-northeast-3",
    "ap-south-1",
    "ap-south-2",
    "ap-southeast-1",
    "ap-southeast-2",
    "ap-southeast-3",
    "ap-southeast-4",
    "ap-southeast-5",
    "ap-southeast-6",
    "ap-southeast-7",
    "ca-central-1",
    "ca-west-1",
    "cn-north-1",
    "cn-northwest-1",
    "eu-central-1",
    "eu-central-2",
    "eu-isoe-west-1",
    "eu-north-1",
    "eu-south-1",
    "eu-south-2",
    "eu-west-1",
    "eu-west-2",
    "eu-west-3",
    "eusc-de-east-1",
    "il-central-1",
    "me-central-1",
    "me-south-1",
    "mx-central-1",
    "sa-east-1",
    "us-east-1",
    "us-east-2",
    "us-gov-east-1",
    "us-gov-west-1",
    "us-iso-east-1",
    "us-iso-west-1",
    "us-isob-east-1",
    "us-isob-west-1",
    "us-isof-east-1",
    "us-isof-south-1",
    "us-west-1",
    "us-west-2",
];

/// Whether this release knows the region. The operator holds clients and metrics for each region that users name, so
/// unknown names are rejected.
pub fn is_known(region: &str) -> bool {
    KNOWN.binary_search(&region).is_ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::BTreeSet;
    use std::path::Path;
    use std::process::Command;

    use serde_json::Value;

    use super::*;

    #[test]
    fn only_regions_of_a_partition_are_known() {
        assert!(KNOWN.is_sorted(), "is_known needs a sorted list for its binary search");
        for region in ["eu-central-1", "us-east-1", "us-gov-west-1", "cn-north-1", "eusc-de-east-1"] {
            assert!(is_known(region), "{region}");
        }
        for region in ["", "aws-global", "eu-central-9", "EU-CENTRAL-1", "us-atlantis-1", "eu-central-1 "] {
            assert!(!is_known(region), "{region}");
        }
    }

    #[test]
    fn the_list_equals_that_of_the_sdk() {
        let partitions = partitions_of_the_sdk();
        let partitions = partitions["partitions"].as_array().unwrap();
        let regions = partitions.iter().flat_map(|partition| partition["regions"].as_object().unwrap().keys());
        let regions: BTreeSet<_> = regions.filter(|name| !name.ends_with("-global")).map(String::as_str).collect();
        assert_eq!(regions, KNOWN.iter().copied().collect());
    }

    /// The partition metadata in the source of aws-sdk-ec2.
    fn partitions_of_the_sdk() -> Value {
        let version = cargo(&["-vV"]);
        let host = version.lines().find_map(|line| line.strip_prefix("host: ")).unwrap();
        // Without a platform, cargo needs the packages of all platforms, which may not be downloaded.
        let metadata = cargo(&["metadata", "--format-version=1", "--locked", "--offline", "--filter-platform", host]);
        let metadata: Value = serde_json::from_str(&metadata).unwrap();
        let packages = metadata["packages"].as_array().unwrap();
        let sdk = packages.iter().find(|package| package["name"] == "aws-sdk-ec2").unwrap();
        let manifest = Path::new(sdk["manifest_path"].as_str().unwrap());
        let source = std::fs::read_to_string(manifest.with_file_name("src").join("endpoint_lib.rs")).unwrap();
        let start = source.find(r#""{\"partitions\":"#).unwrap();
        // The Rust string literal is also a valid JSON string.
        let literal = serde_json::Deserializer::from_str(&source[start..]).into_iter::<String>().next();
        serde_json::from_str(&literal.unwrap().unwrap()).unwrap()
    }

    fn cargo(arguments: &[&str]) -> String {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let output = Command::new(cargo).args(arguments).current_dir(env!("CARGO_MANIFEST_DIR")).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }
}
