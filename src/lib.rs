//! A Kubernetes operator that keeps AWS VPC peering connections as their `VpcPeering` and `VpcPeeringAccepter` resources
//! say.
//! The folders: `api` what users say, `peering` and `accepting` what follows from it, `aws` and `controller` what is done
//! about it, `operator` what makes it a service, `cli` how it is called.

pub mod accepting;
pub mod api;
pub mod aws;
pub mod cli;
pub mod controller;
pub mod operator;
pub mod peering;
