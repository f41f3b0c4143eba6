//! Executes `gridload run` as a child process: starts its server, passes the arguments, and reads
//! the result. Must not choose what is run, or judge the result.

use std::fs::{self, File};
use std::io;
use std::panic;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread;

use thiserror::Error;

use crate::judge::exit::Exit;
use crate::observe::host;
use crate::observe::host::Partition;
use crate::result::run_file::RunFile;
use crate::server::external;
use crate::server::external::ExternalServerError;
use crate::server::process::ServerProcess;

/// Why a run left no result.
#[derive(Debug, Error)]
pub enum ChildRunError {
    /// The results cannot be written to the requested place.
    #[error("{}: {cause}", path.display())]
    Directory {
        /// The path.
        path: PathBuf,
        /// The reason.
        cause: io::Error,
    },
    /// The server failed.
    #[error(transparent)]
    Server(#[from] ExternalServerError),
    /// The run ended without a result.
    #[error("the run in {} ended with {exit} and left no result:\n{said}", path.display())]
    NoResult {
        /// The directory.
        path: PathBuf,
        /// The exit status.
        exit: String,
        /// Whether it rejected its arguments, or found the load too large for this host.
        is_refusal: bool,
        /// Whether it found that the server let nobody in.
        is_servers: bool,
        /// The last lines of its error output.
        said: String,
    },
}

impl ChildRunError {
    /// The exit code for this error.
    pub fn exit(&self) -> Exit {
        match self {
            ChildRunError::Directory { .. } | ChildRunError::Server(_) => Exit::Usage,
            ChildRunError::NoResult { is_refusal: true, .. } => Exit::Usage,
            ChildRunError::NoResult { is_servers: true, .. } => Exit::ServerFailed,
            ChildRunError::NoResult { .. } => Exit::Internal,
        }
    }
}

/// The arguments of one run.
#[derive(Debug, Clone, Copy)]
pub struct ChildRun<'r> {
    /// The directory of its results, which is created.
    pub directory: &'r Path,
    /// A scenario, and flags of `gridload run`.
    pub args: &'r [String],
    /// Command line of the server to start; if absent, the arguments name the server.
    pub server: Option<&'r str>,
    /// CPUs of that server and of the generator that measures it.
    pub partition: &'r Partition,
}

impl ChildRun<'_> {
    /// Starts the server, runs, stops the server, and reads the result.
    ///
    /// # Errors
    /// When there is no result, neither a valid nor an invalid one.
    pub fn call(&self) -> Result<RunFile, ChildRunError> {
        let server = self.ready()?;
        self.measure(server.as_ref())
    }

    /// Executes two runs at the same time. Both servers are started before either is measured, so
    /// that no connection takes the port of a server that is not listening yet.
    ///
    /// # Errors
    /// When either run has no result.
    pub fn call_both(runs: [ChildRun<'_>; 2]) -> Result<[RunFile; 2], ChildRunError> {
        let [first, second] = runs;
        let (first_server, second_server) = (first.ready()?, second.ready()?);
        let (one, other) = thread::scope(|scope| {
            let other = scope.spawn(|| second.measure(second_server.as_ref()));
            (first.measure(first_server.as_ref()), other.join())
        });
        Ok([one?, other.unwrap_or_else(|cause| panic::resume_unwind(cause))?])
    }

    /// The directory and the server of a run.
    fn ready(&self) -> Result<Option<ServerProcess>, ChildRunError> {
        fs::create_dir_all(self.directory).map_err(|cause| failed(self.directory, cause))?;
        self.server.map(|line| self.start(line)).transpose()
    }

    fn measure(&self, server: Option<&ServerProcess>) -> Result<RunFile, ChildRunError> {
        let failed = |cause| failed(self.directory, cause);
        let output = self.command(server).and_then(|mut run| run.output()).map_err(failed)?;
        fs::write(self.directory.join("report.txt"), &output.stdout).map_err(failed)?;
        let found = RunFile::all(self.directory).ok().and_then(|mut found| found.pop());
        found.ok_or_else(|| self.no_result(&output))
    }

    fn start(&self, line: &str) -> Result<ServerProcess, ChildRunError> {
        let log = File::create(self.directory.join("server.log"));
        let log = log.map_err(|cause| failed(self.directory, cause))?;
        Ok(external::start(line, &self.partition.server, log)?)
    }

    fn command(&self, server: Option<&ServerProcess>) -> io::Result<Command> {
        let mut run = Command::new(std::env::current_exe()?);
        run.arg("run").args(self.args).arg("--out").arg(self.directory).stdin(Stdio::null());
        run.arg("--parent").arg(std::process::id().to_string());
        if let Some(server) = server {
            run.arg("--target").arg(format!("ws://{}", server.address()));
            run.arg("--target-pid").arg(server.pid().to_string());
            run.arg("--cpus").arg(host::cpu_list(&self.partition.generator));
        }
        Ok(run)
    }

    fn no_result(&self, output: &Output) -> ChildRunError {
        let ended_with = |exit: Exit| output.status.code() == Some(i32::from(exit.code()));
        ChildRunError::NoResult {
            path: self.directory.to_owned(),
            exit: output.status.to_string(),
            is_refusal: ended_with(Exit::Usage),
            is_servers: ended_with(Exit::ServerFailed),
            said: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        }
    }
}

/// Creates a directory for results, which must not exist yet.
///
/// # Errors
/// When it exists, or cannot be created.
pub fn fresh_directory(path: &Path) -> Result<(), ChildRunError> {
    if path.exists() {
        let text = "is there already; results are never overwritten";
        return Err(failed(path, io::Error::new(io::ErrorKind::AlreadyExists, text)));
    }
    fs::create_dir_all(path).map_err(|cause| failed(path, cause))
}

fn failed(path: &Path, cause: io::Error) -> ChildRunError {
    ChildRunError::Directory { path: path.to_owned(), cause }
}
