//! The kinds of resources, and what EC2 says of an ID that is wrong.

use crate::error::{Error, Result};

/// A kind of resource that has an ID and can have tags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResourceKind {
    /// `vpc-…`
    Vpc,
    /// `pcx-…`
    VpcPeeringConnection,
    /// `rtb-…`
    RouteTable,
}

impl ResourceKind {
    const ALL: [Self; 3] = [Self::Vpc, Self::VpcPeeringConnection, Self::RouteTable];

    /// The kind that an ID is of, by its prefix.
    #[must_use]
    pub fn of(id: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| id.split_once('-').is_some_and(|(prefix, _)| prefix == kind.prefix()))
    }

    /// What its IDs begin with.
    #[must_use]
    pub fn prefix(self) -> &'static str {
        match self {
            Self::Vpc => "vpc",
            Self::VpcPeeringConnection => "pcx",
            Self::RouteTable => "rtb",
        }
    }

    /// Its name in `TagSpecification` and `DescribeTags`.
    #[must_use]
    pub fn type_name(self) -> &'static str {
        match self {
            Self::Vpc => "vpc",
            Self::VpcPeeringConnection => "vpc-peering-connection",
            Self::RouteTable => "route-table",
        }
    }

    /// EC2 does not spell its codes alike: <https://docs.aws.amazon.com/ec2/latest/devguide/errors-overview.html>.
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

    /// The error for IDs that nothing has.
    #[must_use]
    pub fn not_found(self, ids: &[&str]) -> Error {
        let (code, _, name) = self.codes();
        match ids {
            [id] => Error::new(code, format!("The {name} ID '{id}' does not exist")),
            ids => Error::new(code, format!("The {name} IDs '{}' do not exist", ids.join(", "))),
        }
    }

    /// Refuses what cannot be an ID: IDs have a prefix, and eight or seventeen hexadecimal digits.
    ///
    /// # Errors
    /// The kind's `Malformed` code.
    pub fn check(self, id: &str) -> Result<()> {
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
    fn an_id_is_its_prefix_and_digits() {
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
