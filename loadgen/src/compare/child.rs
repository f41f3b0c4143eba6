//! A `gridload run` of our own as a child process: the server started for it, what it is told, and
//! the result it leaves. Must not choose what is run, or judge what came out.

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
    /// The results cannot go where they shall.
    #[error("{}: {cause}", path.display())]
    Directory {
        /// Where.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// The server.
    #[error(transparent)]
    Server(#[from] ExternalServerError),
    /// It ended without one.
    #[error("the run in {} ended with {exit} and left no result:\n{said}", path.display())]
    NoResult {
        /// Where.
        path: PathBuf,
        /// How.
        exit: String,
        /// Whether it called what it was told wrong, or too much for this host.
        is_refusal: bool,
        /// Its last words.
        said: String,
    },
}

impl ChildRunError {
    /// The exit code that says so.
    pub fn exit(&self) -> Exit {
        match self {
            ChildRunError::Directory { .. } | ChildRunError::Server(_) => Exit::Usage,
            ChildRunError::NoResult { is_refusal: true, .. } => Exit::Usage,
            ChildRunError::NoResult { .. } => Exit::Internal,
        }
    }
}

/// One run to be called.
#[derive(Debug, Clone, Copy)]
pub struct ChildRun<'r> {
    /// Where its results go; made for it.
    pub directory: &'r Path,
    /// A scenario, and flags of `gridload run`.
    pub args: &'r [String],
    /// Command line of the server to start for it; without one the arguments say what is measured.
    pub server: Option<&'r str>,
    /// CPUs of such a server and of the generator that measures it.
    pub partition: &'r Partition,
}

impl ChildRun<'_> {
    /// Starts the server, runs, ends the server, and reads what the run has written.
    ///
    /// # Errors
    /// When there is no result, be it valid or not.
    pub fn call(&self) -> Result<RunFile, ChildRunError> {
        let server = self.ready()?;
        self.measure(server.as_ref())
    }

    /// Has two runs at the same time. Both servers are there before either is measured, so that no
    /// connection takes the port that was meant for one.
    ///
    /// # Errors
    /// When either has no result.
    pub fn call_both(runs: [ChildRun<'_>; 2]) -> Result<[RunFile; 2], ChildRunError> {
        let [first, second] = runs;
        let (first_server, second_server) = (first.ready()?, second.ready()?);
        let (one, other) = thread::scope(|scope| {
            let other = scope.spawn(|| second.measure(second_server.as_ref()));
            (first.measure(first_server.as_ref()), other.join())
        });
        Ok([one?, other.unwrap_or_else(|cause| panic::resume_unwind(cause))?])
    }

    /// Its directory and its server.
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
        ChildRunError::NoResult {
            path: self.directory.to_owned(),
            exit: output.status.to_string(),
            is_refusal: output.status.code() == Some(i32::from(Exit::Usage.code())),
            said: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        }
    }
}

/// Makes a directory for results, which must not be there yet.
///
/// # Errors
/// When it is, or cannot be made.
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
