//! What this process and the server's have used up at some moment, and between two.

use std::time::{Duration, Instant};

use crate::process::{Process, ProcessError, Usage};

/// Reads both processes.
#[derive(Debug)]
pub struct Meter {
    own: Process,
    server: Option<Process>,
}

/// One reading.
#[derive(Debug, Clone)]
pub struct Reading {
    /// When.
    pub at: Instant,
    /// CPU time of this process.
    pub own_cpu: Duration,
    /// The server's, if there is one to watch; an error once it has ended.
    pub server: Option<Result<Usage, String>>,
}

impl Meter {
    /// Watches the server with this process id.
    ///
    /// # Errors
    /// There is no such process.
    pub fn new(server: Option<u32>) -> Result<Self, ProcessError> {
        Ok(Self { own: Process::own()?, server: server.map(Process::watch).transpose()? })
    }

    /// The server's process, if it is watched.
    #[must_use]
    pub fn server(&self) -> Option<&Process> {
        self.server.as_ref()
    }

    /// Reads both.
    ///
    /// # Errors
    /// `/proc` does not know this process itself.
    pub fn read(&self) -> Result<Reading, ProcessError> {
        let server = self.server.as_ref();
        Ok(Reading {
            at: Instant::now(),
            own_cpu: self.own.usage()?.cpu,
            server: server.map(|server| server.usage().map_err(|error| error.to_string())),
        })
    }
}

impl Reading {
    /// The server's usage, if it is known.
    #[must_use]
    pub fn server_usage(&self) -> Option<Usage> {
        self.server.as_ref()?.as_ref().ok().copied()
    }

    /// CPU seconds of this process since `earlier`.
    #[must_use]
    pub fn own_cpu_since(&self, earlier: &Self) -> f64 {
        self.own_cpu.saturating_sub(earlier.own_cpu).as_secs_f64()
    }

    /// CPU seconds of the server since `earlier`, if both are known.
    #[must_use]
    pub fn server_cpu_since(&self, earlier: &Self) -> Option<f64> {
        let (now, then) = self.server_usage().zip(earlier.server_usage())?;
        Some(now.cpu.saturating_sub(then.cpu).as_secs_f64())
    }
}
