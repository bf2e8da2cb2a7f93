//! Input that other people can write must not make the operator act against its owner: a forged status, forged tags, an
//! emptied allow list, a CIDR block that another account adds, a resource without permission.

pub mod forgery;
pub mod permissions;
pub mod routes;

use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(30);

/// Time in which an operator would make a forbidden call: several polls.
const LONG_ENOUGH: Duration = Duration::from_secs(3);
