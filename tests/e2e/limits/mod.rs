//! Loads at and beyond the limits of the operator. It must stay ready, stay within the memory limit of the chart, and
//! serve other resources meanwhile.

pub mod endless;
pub mod fairness;
pub mod many;
mod stub;

use std::time::Duration;

/// The longest time from the creation of a resource until it is ready, while the operator serves a crowd of others. The
/// goal is 5 s. The tests allow more, because they run a debug build beside other tests.
pub const PROMPT: Duration = Duration::from_secs(20);
