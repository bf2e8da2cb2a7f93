//! The requirements of the node: each of them is checked before anything starts.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Result, ensure};

use crate::cgroups::Hierarchies;
use crate::image::AUTHORITIES;

/// Programs, and the Debian package of each.
const PROGRAMS: [(&str, &str); 5] =
    [("ip", "iproute2"), ("unshare", "util-linux"), ("mount", "mount"), ("tar", "tar"), ("sh", "dash")];

/// Checks that this machine can run a node.
///
/// # Errors
/// If something is missing. The error lists everything that is missing.
pub fn check() -> Result<()> {
    let mut missing = Vec::new();
    if !cfg!(target_os = "linux") {
        missing.push("Linux".to_owned());
    }
    for (program, package) in PROGRAMS {
        if !succeeds("sh", &["-c", &format!("command -v {program}")]) {
            missing.push(format!("the program {program} (Debian: apt-get install {package})"));
        }
    }
    if !Path::new("/").join(AUTHORITIES).is_file() {
        missing.push(format!("the file /{AUTHORITIES} (Debian: apt-get install ca-certificates)"));
    }
    // The network of a pod is a pair of virtual Ethernet devices.
    let network = "ip link add left type veth peer name right";
    let namespaces = ["--mount", "--net", "--pid", "--fork", "--mount-proc", "sh", "-c"];
    if !succeeds("unshare", &[&namespaces[..], &["true"]].concat()) {
        missing.push("root with CAP_SYS_ADMIN, to make namespaces".to_owned());
    } else if !succeeds("unshare", &[&namespaces[..], &[network]].concat()) {
        missing.push("CAP_NET_ADMIN and veth devices (kernel module veth)".to_owned());
    }
    missing.extend(Hierarchies::find()?.missing());
    ensure!(missing.is_empty(), "cannot start a node on this machine; missing: {}", missing.join("; "));
    Ok(())
}

fn succeeds(program: &str, arguments: &[&str]) -> bool {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}
