//! Tests of the simulator through two SDKs, through its control API, and in comparison with moto.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod binary;
mod cloud;
mod consistency;
mod contract;
mod control;
mod faults;
mod iam;
mod moto;
mod network;
mod python;
mod routes;
mod sts;
