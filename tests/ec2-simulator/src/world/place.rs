//! Who calls, and where: accounts and regions are apart.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// An account in a region: what one EC2 endpoint shows to one caller.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Place {
    /// Twelve digits.
    pub account: String,
    /// Such as `eu-west-1`.
    pub region: String,
}

impl Place {
    /// The place of these names.
    pub fn new(account: impl Into<String>, region: impl Into<String>) -> Self {
        Self { account: account.into(), region: region.into() }
    }
}

/// One call, as the world sees it: where from, when, and whether for real.
#[derive(Clone, Debug)]
pub struct Call {
    /// The caller's account and the endpoint's region.
    pub place: Place,
    /// The simulator's time.
    pub now: Timestamp,
    /// Only ask whether it would succeed.
    pub dry_run: bool,
}

impl Call {
    /// Stands between the last check and the first effect, where a dry run ends.
    /// <https://docs.aws.amazon.com/AWSEC2/latest/APIReference/CommonParameters.html>
    ///
    /// # Errors
    /// `DryRunOperation`, if that is what the caller asked for.
    pub fn proceed(&self) -> Result<()> {
        if self.dry_run { Err(Error::dry_run()) } else { Ok(()) }
    }
}
