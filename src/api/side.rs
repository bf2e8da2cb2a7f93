//! The two ends of a peering connection.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One of the two ends of a peering connection, with EC2's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Side {
    /// The end that sends the request.
    Requester,
    /// The end that receives the request.
    Accepter,
}

impl Side {
    /// Both ends, requester first.
    pub const BOTH: [Self; 2] = [Self::Requester, Self::Accepter];
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Requester => "requester",
            Self::Accepter => "accepter",
        })
    }
}
