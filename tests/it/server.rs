//! A floodplain of a test's own: started on a directory, asked, signalled, and gone with the test.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::http;

/// A server that runs.
pub struct Running {
    pub child: Child,
    pub address: SocketAddr,
    log: BufReader<ChildStderr>,
}

/// The program, with what it says kept for the test.
pub fn floodplain(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_floodplain"));
    command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// The flags of a server on `dir` and a port of the kernel's choice.
pub fn flags(dir: &Path, shards: u16) -> [String; 3] {
    [
        format!("--storage.tsdb.path={}", dir.display()),
        "--web.listen-address=127.0.0.1:0".to_owned(),
        format!("--shards={shards}"),
    ]
}

impl Running {
    /// Starts a server with two shards on `dir` and waits until it answers.
    pub fn on(dir: &Path) -> Self {
        Self::with_shards(dir, 2)
    }

    /// Starts a server on `dir` and waits until it is ready.
    pub fn with_shards(dir: &Path, shards: u16) -> Self {
        Self::with_flags(dir, shards, &[])
    }

    /// The same, with more flags.
    pub fn with_flags(dir: &Path, shards: u16, more: &[&str]) -> Self {
        let running = Self::started(dir, shards, more);
        until("floodplain is ready", || {
            http::send(running.address, "GET /-/ready", &[], b"").is_ok_and(|a| a.status == 200)
        });
        running
    }

    /// Starts a server on `dir` whose pages are below `prefix` by this flag, and waits until it is ready.
    pub fn started_behind(dir: &Path, flag: &str, prefix: &str) -> Self {
        let running = Self::started(dir, 2, &[flag]);
        let ready = format!("GET {prefix}/-/ready");
        until("floodplain is ready", || {
            http::send(running.address, &ready, &[], b"").is_ok_and(|a| a.status == 200)
        });
        running
    }

    /// Starts a server on `dir` and waits only until it listens: it may still be reading its log back.
    pub fn listening(dir: &Path, shards: u16) -> Self {
        Self::started(dir, shards, &[])
    }

    fn started(dir: &Path, shards: u16, more: &[&str]) -> Self {
        let flags = flags(dir, shards);
        let all: Vec<&str> = flags.iter().map(String::as_str).chain(more.iter().copied()).collect();
        let mut child = floodplain(&all).spawn().unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let address = listening_address(&mut log, "message=listening address=");
        Self { child, address, log }
    }

    pub fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
    }

    /// Waits for its end; gives how it ended and the rest of its log.
    pub fn ended(mut self) -> (ExitStatus, String) {
        let mut rest = String::new();
        self.log.read_to_string(&mut rest).unwrap();
        (self.child.wait().unwrap(), rest)
    }

    /// `kill -9`, and waits until it is gone.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        drop(self.ended());
    }

    /// What it answers, head and body.
    pub fn ask(&self, head: &str, body: &[u8]) -> String {
        let mut connection = TcpStream::connect(self.address).unwrap();
        let head = format!(
            "{head}\r\nHost: a\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        connection.write_all(head.as_bytes()).unwrap();
        connection.write_all(body).unwrap();
        let mut answer = String::new();
        connection.read_to_string(&mut answer).unwrap();
        answer
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Most tests have seen it end.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Reads a program's log up to the line that has `before`, and the address that follows it there.
pub fn listening_address(log: &mut impl BufRead, before: &str) -> SocketAddr {
    let mut said = String::new();
    loop {
        let begin = said.len();
        assert!(log.read_line(&mut said).unwrap() > 0, "it has ended without listening:\n{said}");
        if let Some((_, found)) = said.get(begin..).and_then(|line| line.split_once(before)) {
            return found.trim().parse().unwrap();
        }
    }
}

/// Asks again and again until it is so; more than two minutes is a failure.
#[expect(
    clippy::disallowed_methods,
    reason = "a test has no shard to stop; it asks, it does not wait for time"
)]
pub fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begins = Instant::now();
    while !is_so() {
        assert!(
            begins.elapsed() < Duration::from_secs(120),
            "in two minutes it did not come: {what}"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Now, in milliseconds since the Unix epoch.
pub fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    i64::try_from(since.as_millis()).unwrap()
}
