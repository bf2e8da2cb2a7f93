//! The simulator, seen from outside: through two SDKs, beside moto, and through its control API.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod binary;
mod cloud;
mod contract;
mod control;
mod faults;
mod iam;
mod moto;
mod python;
