//! A node: containerd and a kubelet as processes, and a scheduler that places pods on it.

use std::path::Path;
use std::time::Duration;

use anyhow::{Result, ensure};
use environment::control_plane::KUBERNETES_SERVICE;
use environment::{ControlPlane, Process, eventually};
use serde_json::json;
use tokio::process::Command;

use crate::image::Image;
use crate::sandbox::Inside;

/// The socket of containerd, below the hidden folder `/run`.
const SOCKET: &str = "/run/containerd/containerd.sock";

/// The image of the container that holds the namespaces of a pod.
const PAUSE: &str = "docker.io/library/pause:node";

/// The name of the node.
pub const NODE: &str = "node";

/// The addresses of pods.
const PODS: &str = "10.1.0.0/24";

/// The time for a start, also on a busy machine.
const LIMIT: Duration = Duration::from_secs(180);

/// A running node. Dropping it stops its processes.
#[derive(Debug)]
pub struct Node {
    _kubelet: Process,
    _scheduler: Process,
    _containerd: Process,
}

impl Node {
    /// Starts containerd, imports the images, and starts the kubelet and the scheduler. Waits until the node is ready.
    ///
    /// # Errors
    /// If a process does not start, or an image cannot be imported.
    pub async fn start(control_plane: &ControlPlane, inside: &Inside, image: &Image) -> Result<Self> {
        let programs = environment::prepare("tests/control-plane/build.sh node")?;
        let folder = &inside.folder;
        let containerd = start_containerd(&programs, folder).await?;
        let pause = Image {
            names: vec![PAUSE.to_owned()],
            files: vec![("pause".to_owned(), programs.join("pause"))],
            config: json!({"Entrypoint": ["/pause"], "User": "65535:65535"}),
        };
        for (name, image) in [("pause", &pause), ("operator", image)] {
            let folder = folder.join("images").join(name);
            std::fs::create_dir_all(&folder)?;
            import(&programs, &image.archive(&folder)?).await?;
        }
        let kubeconfig = control_plane.kubeconfig();
        let scheduler = [
            format!("--kubeconfig={}", kubeconfig.display()),
            "--leader-elect=false".to_owned(),
            // No HTTP server.
            "--secure-port=0".to_owned(),
        ];
        let log = folder.join("kube-scheduler.log");
        let scheduler = Process::start(&programs.join("kube-scheduler"), &scheduler, &[], &log).await?;
        let kubelet = start_kubelet(&programs, inside, kubeconfig).await?;
        let mut this = Self { _kubelet: kubelet, _scheduler: scheduler, _containerd: containerd };
        this.wait(control_plane).await?;
        Ok(this)
    }

    async fn wait(&mut self, control_plane: &ControlPlane) -> Result<()> {
        let ready = format!("node/{NODE}");
        eventually("the node is ready", LIMIT, async || {
            for process in [&mut self._containerd, &mut self._kubelet, &mut self._scheduler] {
                if let Err(error) = process.check() {
                    return Ok(Err(error));
                }
            }
            control_plane.kubectl(&["wait", "--for=condition=Ready", "--timeout=10s", &ready]).await?;
            Ok(Ok(()))
        })
        .await??;
        Ok(())
    }
}

async fn ctr(programs: &Path, arguments: &[&str]) -> Result<String> {
    let mut command = Command::new(programs.join("ctr"));
    let output = command.args(["--address", SOCKET, "--namespace", "k8s.io"]).args(arguments).output().await?;
    let error = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "ctr {}: {}", arguments.join(" "), error.trim_end());
    Ok(String::from_utf8(output.stdout)?)
}

async fn import(programs: &Path, archive: &Path) -> Result<()> {
    let archive = archive.to_string_lossy();
    ctr(programs, &["images", "import", "--local", "--snapshotter", "native", &archive]).await.map(drop)
}

async fn start_containerd(programs: &Path, folder: &Path) -> Result<Process> {
    let (assets, data) = (programs.display(), folder.display());
    // The snapshotter `native` copies files, and so works on every file system. Without CAP_SYS_RESOURCE no process may
    // lower its OOM score. The plugin `opt` would create /opt/containerd.
    let config = format!(
        "version = 3
root = '{data}/containerd'
state = '/run/containerd'
[grpc]
address = '{SOCKET}'
[plugins.'io.containerd.cri.v1.images']
snapshotter = 'native'
[plugins.'io.containerd.cri.v1.images'.pinned_images]
sandbox = '{PAUSE}'
[plugins.'io.containerd.cri.v1.runtime']
restrict_oom_score_adj = true
[plugins.'io.containerd.cri.v1.runtime'.cni]
bin_dirs = ['{assets}']
conf_dir = '{data}/cni'
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
runtime_type = 'io.containerd.runc.v2'
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
BinaryName = '{assets}/runc'
SystemdCgroup = false
[plugins.'io.containerd.internal.v1.opt']
path = '{data}/opt'
[plugins.'io.containerd.nri.v1.nri']
disable = true
"
    );
    let path = folder.join("containerd.toml");
    std::fs::write(&path, config)?;
    std::fs::create_dir_all(folder.join("cni"))?;
    let network = json!({
        "cniVersion": "1.0.0",
        "name": "pods",
        "plugins": [{
            "type": "ptp",
            "ipam": {"type": "host-local", "ranges": [[{"subnet": PODS}]], "routes": [{"dst": "0.0.0.0/0"}]},
        }],
    });
    std::fs::write(folder.join("cni/pods.conflist"), network.to_string())?;
    let arguments = ["--config".to_owned(), path.to_string_lossy().into_owned()];
    // containerd finds its shim by PATH.
    let search = format!("{assets}:{}", std::env::var("PATH")?);
    let log = folder.join("containerd.log");
    let mut process = Process::start(&programs.join("containerd"), &arguments, &[("PATH", &search)], &log).await?;
    eventually("containerd", LIMIT, async || {
        if let Err(error) = process.check() {
            return Ok(Err(error));
        }
        ctr(programs, &["version"]).await?;
        Ok(Ok(()))
    })
    .await??;
    Ok(process)
}

async fn start_kubelet(programs: &Path, inside: &Inside, kubeconfig: &Path) -> Result<Process> {
    let folder = &inside.folder;
    let path = |name: &str| folder.join(name).to_string_lossy().into_owned();
    // Pods have no name server.
    std::fs::write(folder.join("resolv.conf"), "")?;
    let config = json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": KUBERNETES_SERVICE,
        // Only this test reaches the kubelet, whose network is the test's own.
        "authentication": {"anonymous": {"enabled": true}, "webhook": {"enabled": false}},
        "authorization": {"mode": "AlwaysAllow"},
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": format!("/{}", inside.cgroup),
        "enforceNodeAllocatable": ["none"],
        "failCgroupV1": false,
        "failSwapOn": false,
        // An error instead of changes to the kernel parameters of the machine.
        "protectKernelDefaults": true,
        "oomScoreAdj": 0,
        "containerRuntimeEndpoint": format!("unix://{SOCKET}"),
        "resolvConf": path("resolv.conf"),
        "volumePluginDir": path("volume-plugins"),
        // The test does not depend on the free space of the machine.
        "localStorageCapacityIsolation": false,
        "evictionHard": {"memory.available": "0%", "nodefs.available": "0%", "imagefs.available": "0%"},
        "imageGCHighThresholdPercent": 100,
        "serializeImagePulls": true,
    });
    let file = folder.join("kubelet.json");
    std::fs::write(&file, config.to_string())?;
    let arguments = [
        format!("--config={}", file.display()),
        format!("--kubeconfig={}", kubeconfig.display()),
        format!("--root-dir={}", path("kubelet")),
        format!("--cert-dir={}", path("kubelet-certificates")),
        format!("--hostname-override={NODE}"),
        format!("--node-ip={KUBERNETES_SERVICE}"),
    ];
    Process::start(&programs.join("kubelet"), &arguments, &[], Path::new(&path("kubelet.log"))).await
}
