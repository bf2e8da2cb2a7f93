//! `graph`
