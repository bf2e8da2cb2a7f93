//! The simulator as a program.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use ec2_simulator::{Client, Scene};

use crate::cloud::{ANOTHER_ACCOUNT, Cloud, HERE, at_once, frozen, simulator};

/// A process that is killed at the end of the test, even after a panic.
struct Process {
    child: Child,
    url: String,
}

impl Process {
    fn start(arguments: &[&str]) -> Self {
        let command = env!("CARGO_BIN_EXE_ec2-simulator");
        let mut child = Command::new(command).args(arguments).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let url = line.trim().strip_prefix("listening on ").unwrap_or_else(|| panic!("{line:?}")).to_owned();
        Self { child, url }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

#[tokio::test]
async fn the_address_is_printed_and_the_scene_is_loaded() {
    let saved = {
        let server = simulator(at_once(), frozen()).await;
        let id = Cloud::at(server.url()).active().await.unwrap();
        (Client::new(&server.url()).save().await.unwrap(), id)
    };
    let (scene, id): (Scene, String) = saved;
    let file = tempfile::NamedTempFile::new().unwrap();
    serde_json::to_writer(&file, &scene).unwrap();
    let path = file.path().to_str().unwrap();
    let process = Process::start(&["--state", path, "--clock-factor", "0"]);
    let client = Client::new(&process.url);
    assert_eq!(client.save().await.unwrap(), scene);
    Cloud::at(process.url.clone()).describe(HERE, &id).await.unwrap();
    assert_eq!(client.advance(Duration::ZERO).await.unwrap().factor, 0.0);
}

#[tokio::test]
async fn any_role_can_be_assumed_with_the_flag() {
    let strict = Process::start(&[]);
    assert!(Cloud::at(strict.url.clone()).another().await.is_err());
    let lenient = Process::start(&["--any-role"]);
    let another = Cloud::at(lenient.url.clone()).another().await.unwrap();
    assert_eq!(another.account().await.unwrap(), ANOTHER_ACCOUNT);
}

#[test]
fn an_invalid_scene_is_reported() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), r#"{"vpc": []}"#).unwrap();
    let path = file.path().to_str().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_ec2-simulator")).args(["--state", path]).output().unwrap();
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("is not a scene"), "{output:?}");
}
