//! The server of moto, an independent simulation of EC2.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A server that is killed at the end of the test, even after a panic.
pub(crate) struct Moto {
    process: Child,
    pub(crate) url: String,
}

impl Moto {
    pub(crate) fn start() -> Self {
        let port = {
            let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
            listener.local_addr().expect("its address").port()
        };
        let process = Command::new(venv().join("bin/moto_server"))
            .args(["-p", &port.to_string()])
            .env_remove("AWS_CA_BUNDLE")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("moto_server");
        let moto = Self { process, url: format!("http://127.0.0.1:{port}") };
        let deadline = Instant::now() + Duration::from_secs(60);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < deadline, "moto did not start within a minute");
            std::thread::sleep(Duration::from_millis(50));
        }
        moto
    }

    /// Deletes all resources: <https://docs.getmoto.org/en/latest/docs/server_mode.html#reset-api>.
    pub(crate) fn reset(&self) {
        let mut stream = TcpStream::connect(self.url.trim_start_matches("http://")).expect("moto");
        let request = "POST /moto-api/reset HTTP/1.0\r\nContent-Length: 0\r\n\r\n";
        stream.write_all(request.as_bytes()).expect("a request");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        assert!(answer.contains(" 200 "), "{answer}");
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

/// The pinned Python environment. Creates it if it does not exist.
pub(crate) fn venv() -> PathBuf {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../python/venv.sh");
    let output = Command::new(script).stderr(Stdio::inherit()).output().expect("venv.sh");
    assert!(output.status.success(), "venv.sh failed");
    PathBuf::from(String::from_utf8(output.stdout).expect("a path").trim())
}
