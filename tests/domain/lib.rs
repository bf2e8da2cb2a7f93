//! The domain (`src/peering`) with the custom resources (`src/api`), and nothing else. `make mutants` changes one
//! expression at a time and runs the unit tests. This crate builds in seconds, the operator's in a minute.

#![cfg(feature = "mutants")]
// The parts that only the controllers use.
#![allow(dead_code, unused_imports, missing_docs)]

#[path = "../../src/api/mod.rs"]
pub mod api;
#[cfg(test)]
#[path = "../../src/fuzzing.rs"]
mod fuzzing;
#[path = "../../src/peering/mod.rs"]
mod peering;
