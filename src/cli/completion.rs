//! `vpc-peering-operator completion`

use clap::Args;
use clap_complete::Shell;

/// Prints a script that completes the commands and flags in a shell.
///
/// For example, in bash: source <(vpc-peering-operator completion bash)
#[derive(Debug, Args)]
pub(crate) struct Completion {
    /// The shell.
    shell: Shell,
    /// The name of the program that the script completes, if the binary has another name.
    #[arg(long, default_value = super::NAME)]
    name: String,
}

impl Completion {
    pub(super) fn execute(self) {
        clap_complete::generate(self.shell, &mut super::command(super::NAME), self.name, &mut std::io::stdout());
    }
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum;

    use super::*;

    #[test]
    fn every_shell_has_a_script_with_every_command() {
        for shell in Shell::value_variants() {
            let mut script = Vec::new();
            clap_complete::generate(*shell, &mut crate::cli::command(crate::cli::NAME), "pcx", &mut script);
            let script = String::from_utf8_lossy(&script);
            assert!(script.contains("completion") && script.contains("pcx"), "{shell}: {script}");
        }
    }
}
