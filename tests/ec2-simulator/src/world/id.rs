//! Resource types, and the errors for unknown and malformed IDs.

use crate::error::{Error, Result};

/// A resource type. All of them have IDs and tags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ResourceKind {
    Vpc,
    VpcPeeringConnection,
    RouteTable,
}

impl ResourceKind {
    const ALL: [Self; 3] = [Self::Vpc, Self::VpcPeeringConnection, Self::RouteTable];

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
        }
    }

    /// The name in `TagSpecification` and `DescribeTags`.
    pub(crate) fn type_name(self) -> &'static str {
        match self {
            Self::Vpc => "vpc",
            Self::VpcPeeringConnection => "vpc-peering-connection",
            Self::RouteTable => "route-table",
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
        assert_eq!(ResourceKind::of("subnet-1"), None);
    }
}
