//! A Kubernetes operator for AWS VPC peering connections. `docs/architecture.md` explains the design.
//!
//! The folders are layers. Each imports only from those below it:
//!
//! - `cli`: the subcommands.
//! - `operator`: the process: leader election, probes, metrics, logs, traces, shutdown.
//! - `controller`: the reconcile loop, the watches and the effects.
//! - `aws`: EC2 and STS calls, and the polled inventory of each region.
//! - `peering`: the domain. Pure.
//! - `api`: the custom resources.

pub mod api;
pub(crate) mod aws;
pub mod cli;
pub(crate) mod controller;
#[cfg(test)]
pub(crate) mod fuzzing;
pub mod operator;
pub(crate) mod peering;
