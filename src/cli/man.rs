//! `vpc-peering-operator man`

use std::path::PathBuf;

use anyhow::Context;
use clap::Args;

/// Writes the manual pages, one for each command.
#[derive(Debug, Args)]
pub(crate) struct Man {
    /// The folder to write to, for example ~/.local/share/man/man1. It is created if it is missing.
    folder: PathBuf,
}

impl Man {
    pub(super) fn execute(self) -> anyhow::Result<()> {
        let folder = self.folder.display();
        std::fs::create_dir_all(&self.folder).with_context(|| format!("cannot create the folder {folder}"))?;
        clap_mangen::generate_to(super::command(super::NAME), &self.folder)
            .with_context(|| format!("cannot write the manual pages to {folder}"))
    }
}
