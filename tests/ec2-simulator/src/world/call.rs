//! The location and time of a call. Accounts and regions are isolated from each other.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// An account and a region. A caller sees only resources of its location.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Location {
    /// The account ID: twelve digits.
    pub account: String,
    /// The region, such as `eu-west-1`.
    pub region: String,
}

impl Location {
    pub(crate) fn new(account: impl Into<String>, region: impl Into<String>) -> Self {
        Self { account: account.into(), region: region.into() }
    }
}

/// The parameters of every call on the world.
#[derive(Clone, Debug)]
pub struct Call {
    /// The caller's account and the endpoint's region.
    pub location: Location,
    /// The time of the simulator's clock.
    pub now: Timestamp,
    /// Checks whether the call would succeed, and changes nothing.
    pub dry_run: bool,
}

impl Call {
    /// Ends a dry run. Every action calls this after its last check and before its first change.
    /// <https://docs.aws.amazon.com/AWSEC2/latest/APIReference/CommonParameters.html>
    pub(crate) fn proceed(&self) -> Result<()> {
        if self.dry_run { Err(Error::dry_run()) } else { Ok(()) }
    }
}
