//! A Kubernetes operator that keeps AWS VPC peering connections as their `VpcPeering` resources say.
//! The folders: `api` what users say, `peering` what follows from it.

pub mod api;
pub mod peering;
