//! The end of a resource whose identity or namespace goes before it.

pub mod identity;
pub mod namespace;
