//! PostgreSQL of Debian on a port of its own, run by the account `postgres`, because it does not
//! run as root. Questions are asked by psql. Must not share code with the bridge.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use super::harness::process::skip;
use super::process::{Process, free_port, output_of, wait_for};

/// The password of the account of the bridge.
pub const PASSWORD: &str = "correct horse";

/// A running server.
pub struct Postgres {
    programs: PathBuf,
    directory: TempDir,
    port: u16,
    process: Process,
}

impl Postgres {
    /// Starts one with an account `gridcast` and its database; none where it is not installed.
    pub fn start() -> Option<Self> {
        let Some(programs) = programs() else {
            skip("PostgreSQL", "apt-get install postgresql");
            return None;
        };
        let directory = tempfile::tempdir().unwrap();
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o777)).unwrap();
        let data = directory.path().join("data");
        let initdb = programs.join("initdb");
        output_of(as_postgres(&initdb).arg("-D").arg(&data).args([
            "--auth-local=trust",
            "--auth-host=scram-sha-256",
            "--no-sync",
            "--locale=C.UTF-8",
            "--username=postgres",
        ]));
        let port = free_port();
        let process = spawn(&programs, &directory, port);
        let server = Self { programs, directory, port, process };
        server.wait_until_ready();
        server.sql_in("postgres", &format!("CREATE ROLE gridcast LOGIN PASSWORD '{PASSWORD}'"));
        server.sql_in("postgres", "CREATE DATABASE grid OWNER gridcast");
        Some(server)
    }

    /// Its address, for the account of the bridge.
    pub fn url(&self) -> String {
        format!("postgres://gridcast@127.0.0.1:{}/grid?sslmode=disable", self.port)
    }

    /// Kills it without a word.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Starts it again with what it had.
    pub fn restart(&mut self) {
        wait_for("PostgreSQL to start again", Duration::from_secs(60), || {
            self.process = spawn(&self.programs, &self.directory, self.port);
            // Processes of the killed one may hold its memory for a moment: then it ends at once.
            wait_for("an end or a beginning", Duration::from_secs(60), || {
                self.process.has_ended() || self.is_ready()
            });
            !self.process.has_ended()
        });
    }

    fn wait_until_ready(&self) {
        wait_for("PostgreSQL", Duration::from_secs(60), || self.is_ready());
    }

    fn is_ready(&self) -> bool {
        let mut command = Command::new(self.programs.join("pg_isready"));
        let command = command.args(["-q", "-h"]).arg(self.directory.path());
        command.args(["-p", &self.port.to_string()]).status().unwrap().success()
    }

    /// The rows of an answer, columns separated by `|`.
    pub fn sql(&self, statement: &str) -> Vec<String> {
        self.sql_in("grid", statement)
    }

    /// The only figure of an answer.
    pub fn figure(&self, statement: &str) -> u64 {
        self.sql(statement)[0].parse().unwrap()
    }

    /// Waits until a statement has this figure. A table that is not there yet has none.
    pub fn wait_for_figure(&self, statement: &str, figure: u64) {
        let mut last = 0;
        wait_for(&format!("{figure} of {statement}"), Duration::from_secs(60), || {
            let exists = "SELECT count(*) FROM pg_tables WHERE tablename = 'gridcast_messages'";
            last = if self.figure(exists) == 1 { self.figure(statement) } else { 0 };
            last >= figure
        });
        assert_eq!(last, figure, "{statement}");
    }

    fn sql_in(&self, database: &str, statement: &str) -> Vec<String> {
        let mut command = Command::new(self.programs.join("psql"));
        command.args(["-X", "-q", "-t", "-A", "-v", "ON_ERROR_STOP=1", "-U", "postgres", "-h"]);
        command.arg(self.directory.path()).args(["-p", &self.port.to_string(), "-d", database]);
        let text = output_of(command.args(["-c", statement]));
        text.lines().map(str::to_owned).collect()
    }
}

/// The newest version that is installed.
fn programs() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").ok()?;
    let programs = versions.map(|version| version.unwrap().path().join("bin"));
    programs.filter(|programs| programs.join("initdb").exists()).max()
}

fn spawn(programs: &Path, directory: &TempDir, port: u16) -> Process {
    let mut command = as_postgres(&programs.join("postgres"));
    let port = port.to_string();
    command.arg("-D").arg(directory.path().join("data")).args(["-p", &port, "-k"]);
    command.arg(directory.path()).args(["-c", "listen_addresses=127.0.0.1"]);
    Process::start(&mut command, &directory.path().join("log"))
}

fn as_postgres(program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]).arg(program);
    command.current_dir("/");
    command
}
