//! `vpc-peering-operator crd`

use clap::Args;

use crate::api::crd;

/// Prints the CustomResourceDefinitions as YAML.
#[derive(Debug, Args)]
pub(crate) struct Crd {}

impl Crd {
    pub(super) fn execute(self) -> anyhow::Result<()> {
        print!("{}", crd::yaml()?);
        Ok(())
    }
}
