//! The server of moto, an independent simulation of EC2.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use tokio::net::TcpStream;

use crate::{Process, eventually, free_port, prepare};

/// A running server of moto.
#[derive(Debug)]
pub struct Moto {
    /// The endpoint URL.
    pub url: String,
    _process: Process,
}

impl Moto {
    /// Installs moto if it is not in the cache folder, and starts its server.
    ///
    /// # Errors
    /// If the server does not start.
    pub async fn start(folder: &Path) -> Result<Self> {
        let venv = prepare("tests/python/venv.sh")?;
        let port = free_port()?;
        let arguments = ["-H".into(), "127.0.0.1".into(), "-p".into(), port.to_string()];
        let mut process =
            Process::start(&venv.join("bin/moto_server"), &arguments, &[], &folder.join("moto.log")).await?;
        eventually("moto", Duration::from_secs(60), async || {
            if let Err(error) = process.check() {
                return Ok(Err(error));
            }
            Ok(Ok(TcpStream::connect(("127.0.0.1", port)).await?))
        })
        .await??;
        Ok(Self { url: format!("http://127.0.0.1:{port}"), _process: process })
    }
}
