//! Resource types, and the errors for unknown and malformed IDs.

use crate::error::{Error, Result};

/// A resource type. All of them have IDs and tags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ResourceKind {
    Vpc,
    VpcPeeringConnection,
    RouteTable,
    Subnet,
    NetworkAcl,
    SecurityGroup,
    SecurityGroupRule,
    NetworkInterface,
    PrefixList,
}

impl ResourceKind {
    const ALL: [Self; 9] = [
        Self::Vpc,
        Self::VpcPeeringConnection,
        Self::RouteTable,
        Self::Subnet,
        Self::NetworkAcl,
        Self::SecurityGroup,
        Self::SecurityGroupRule,
        Self::NetworkInterface,
        Self::PrefixList,
    ];

    /// Derives the resource type from the prefix of an ID.
    pub(crate) fn of(id: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| id.split_once('-').is_some_and(|(prefix, _)| prefix == kind.prefix()))
    }

    /// The prefix of its IDs.
    pub(crate) fn prefix(self) -> &'static str {
        match self {
            Self::Vpc => "vpc",
            Self::VpcPeeringConnection => "pcx",
            Self::RouteTable => "rtb",
            Self::Subnet => "subnet",
            Self::NetworkAcl => "acl",
            Self::SecurityGroup => "sg",
            Self::SecurityGroupRule => "sgr",
            Self::NetworkInterface => "eni",
            Self::PrefixList => "pl",
        }
    }

    /// The name in `TagSpecification` and `DescribeTags`.
    pub(crate) fn type_name(self) -> &'static str {
        match self {
            Self::Vpc => "vpc",
            Self::VpcPeeringConnection => "vpc-peering-connection",
            Self::RouteTable => "route-table",
            Self::Subnet => "subnet",
            Self::NetworkAcl => "network-acl",
            Self::SecurityGroup => "security-group",
            Self::SecurityGroupRule => "security-group-rule",
            Self::NetworkInterface => "network-interface",
            Self::PrefixList => "prefix-list",
        }
    }

    /// The codes for unknown and for malformed IDs, and the name in the message. EC2 spells the codes inconsistently:
    /// <https://docs.aws.amazon.com/ec2/latest/devguide/errors-overview.html>.
    fn codes(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::Vpc => ("InvalidVpcID.NotFound", "InvalidVpcID.Malformed", "vpc"),
            Self::VpcPeeringConnection => (
                "InvalidVpcPeeringConnectionID.NotFound",
                "InvalidVpcPeeringConnectionId.Malformed",
                "vpcPeeringConnection",
            ),
            Self::RouteTable => ("InvalidRouteTableID.NotFound", "InvalidRouteTableId.Malformed", "routeTable"),
            Self::Subnet => ("InvalidSubnetID.NotFound", "InvalidSubnetID.Malformed", "subnet"),
            Self::NetworkAcl => ("InvalidNetworkAclID.NotFound", "InvalidNetworkAclId.Malformed", "networkAcl"),
            Self::SecurityGroup => ("InvalidGroup.NotFound", "InvalidGroupId.Malformed", "security group"),
            Self::SecurityGroupRule => {
                ("InvalidSecurityGroupRuleId.NotFound", "InvalidSecurityGroupRuleId.Malformed", "security group rule")
            }
            Self::NetworkInterface => {
                ("InvalidNetworkInterfaceID.NotFound", "InvalidNetworkInterfaceId.Malformed", "networkInterface")
            }
            Self::PrefixList => ("InvalidPrefixListID.NotFound", "InvalidPrefixListId.Malformed", "prefix list"),
        }
    }

    /// The error for IDs that do not exist.
    pub(crate) fn not_found(self, ids: &[&str]) -> Error {
        let (code, _, name) = self.codes();
        match ids {
            [id] => Error::new(code, format!("The {name} ID '{id}' does not exist")),
            ids => Error::new(code, format!("The {name} IDs '{}' do not exist", ids.join(", "))),
        }
    }

    /// Rejects a malformed ID. An ID is the prefix, and eight or seventeen hexadecimal digits.
    pub(crate) fn check(self, id: &str) -> Result<()> {
        let digits = id.split_once('-').filter(|(prefix, _)| *prefix == self.prefix()).map(|(_, digits)| digits);
        match digits {
            Some(digits) if matches!(digits.len(), 8 | 17) && digits.bytes().all(|digit| digit.is_ascii_hexdigit()) => {
                Ok(())
            }
            _ => {
                let (_, code, _) = self.codes();
                Err(Error::new(code, format!("Invalid id: \"{id}\" (expecting \"{}-...\")", self.prefix())))
            }
        }
    }
}

/// An ID that depends only on a text, so that a resource keeps its ID in every run.
pub(crate) fn derived(prefix: &str, text: &str) -> String {
    // FNV-1a gives the same hash on every machine.
    let mix = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    format!("{prefix}-{:017x}", text.bytes().fold(0xcbf2_9ce4_8422_2325, mix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_a_prefix_and_hexadecimal_digits() {
        for (id, good) in [
            ("pcx-1a2b3c4d", true),
            ("pcx-0123456789abcdef0", true),
            ("vpc-0123456789abcdef0", false),
            ("pcx-0123456789abcdef", false),
            ("pcx-1a2b3c4g", false),
            ("pcx", false),
            ("", false),
        ] {
            assert_eq!(ResourceKind::VpcPeeringConnection.check(id).is_ok(), good, "{id}");
        }
        assert_eq!(ResourceKind::of("rtb-1"), Some(ResourceKind::RouteTable));
        assert_eq!(ResourceKind::of("sgr-1"), Some(ResourceKind::SecurityGroupRule));
        assert_eq!(ResourceKind::of("igw-1"), None);
    }
}
