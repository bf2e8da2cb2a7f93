//! `vpc-peering-operator crd`

use clap::Args;

use crate::api::crd;

/// Print the CustomResourceDefinitions as YAML.
#[derive(Debug, Args)]
pub struct Crd {}

impl Crd {
    pub(super) fn execute(self) -> anyhow::Result<()> {
        print!("{}", crd::yaml()?);
        Ok(())
    }
}
