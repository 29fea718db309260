//! Debian's Prometheus and node_exporter as peers: found or skipped, started on ports of the kernel's choice, and gone
//! with the test.

use std::fs;
use std::io::{BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;

use crate::http;
use crate::server::{listening_address, until};

/// The packages' names of the programs.
pub const PROMETHEUS: &str = "prometheus";
pub const PROMTOOL: &str = "promtool";
pub const NODE_EXPORTER: &str = "prometheus-node-exporter";

/// Set where the peers have to be there.
const REQUIRED: &str = "FLOODPLAIN_REQUIRE_PROMETHEUS";

/// Are all of these installed? Says so if not; where they are required, that is a failure.
pub fn installed(programs: &[&str]) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let is_there =
        |program: &str| std::env::split_paths(&path).any(|dir| dir.join(program).is_file());
    match programs.iter().find(|program| !is_there(program)) {
        None => true,
        Some(missing) => {
            is_missing(missing, &format!("apt-get install {missing}"));
            false
        }
    }
}

/// Says that a peer is not installed, and how it would be; where peers are required, that is a failure.
pub fn is_missing(peer: &str, cure: &str) {
    assert!(std::env::var_os(REQUIRED).is_none(), "{REQUIRED} is set and {peer} is not installed");
    println!("skipped: {peer} is not installed ({cure})");
}

/// A peer that runs.
pub struct Peer {
    child: Child,
    pub address: SocketAddr,
    dir: Option<PathBuf>,
}

impl Peer {
    fn start(command: &mut Command, dir: Option<PathBuf>) -> Self {
        let command = command.arg("--web.listen-address=127.0.0.1:0").stdin(Stdio::null());
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let address = listening_address(&mut log, "msg=\"Listening on\" address=");
        // A full pipe would stop the peer. The thread ends with it.
        thread::spawn(move || log.read_to_end(&mut Vec::new()));
        Self { child, address, dir }
    }

    /// Starts node_exporter with the collectors whose numbers are alike on all machines.
    pub fn node_exporter() -> Self {
        let mut command = Command::new(NODE_EXPORTER);
        command.arg("--collector.disable-defaults");
        for collector in ["cpu", "loadavg", "meminfo", "stat", "vmstat", "filefd", "uname", "time"]
        {
            command.arg(format!("--collector.{collector}"));
        }
        Self::start(&mut command, None)
    }

    /// Starts Prometheus in `dir` with the configuration `config` and waits until it is ready.
    pub fn prometheus(dir: &Path, config: &str) -> Self {
        Self::prometheus_on(&dir.join("data"), dir, config)
    }

    /// The same on the data that is in `data`.
    pub fn prometheus_on(data: &Path, dir: &Path, config: &str) -> Self {
        Self::prometheus_with(data, dir, config, &[])
    }

    /// The same with further arguments.
    pub fn prometheus_with(data: &Path, dir: &Path, config: &str, arguments: &[&str]) -> Self {
        fs::write(dir.join("prometheus.yml"), config).unwrap();
        let mut command = Command::new(PROMETHEUS);
        command.arg(format!("--config.file={}", dir.join("prometheus.yml").display()));
        command.arg(format!("--storage.tsdb.path={}", data.display()));
        command.args(["--web.enable-remote-write-receiver", "--web.enable-admin-api"]);
        command.args(arguments);
        let peer = Self::start(&mut command, Some(dir.to_owned()));
        until("Prometheus is ready", || {
            http::send(peer.address, "GET /-/ready", &[], b"").is_ok_and(|a| a.status == 200)
        });
        peer
    }

    /// Has it go on with another configuration.
    pub fn reload(&self, config: &str) {
        let file = self.dir.as_ref().unwrap().join("prometheus.yml");
        fs::write(file, config).unwrap();
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-HUP", &pid]).status().unwrap().success());
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // It may have ended by itself, which the test has noticed by its answers.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
