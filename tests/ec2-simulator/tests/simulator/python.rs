//! Runs the main checks of the contract with boto3, a second client that parses all responses, errors and pages.

use std::process::Command;

use crate::cloud::{at_once, simulator};
use crate::moto::venv;

#[tokio::test(flavor = "multi_thread")]
async fn boto3_passes_the_main_checks() {
    let clock = ec2_simulator::clock::Clock::new(jiff::Timestamp::now(), 1.0);
    let server = simulator(at_once(), clock).await;
    let output = Command::new(venv().join("bin/python"))
        .args(["-W", "error::DeprecationWarning:__main__"])
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/simulator/core.py"))
        .arg(server.url())
        // The endpoint uses no TLS.
        .env_remove("AWS_CA_BUNDLE")
        .env("AWS_CONFIG_FILE", "/dev/null")
        .env("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
        .output()
        .unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{out}\n{err}");
    // All checks of the script have run.
    assert!(out.contains("19 checks passed"), "{out}\n{err}");
}
