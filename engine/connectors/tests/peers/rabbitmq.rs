//! RabbitMQ of Debian on ports of its own. Messages are published and read by the client library
//! of Python (Debian's python3-pika), which shares nothing with the bridge.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use tempfile::TempDir;

use super::harness::process::skip;
use super::process::{Process, free_port, installed, output_of, wait_for, wait_for_port};

/// The password of the account of the bridge, `gridcast`.
pub const PASSWORD: &str = "correct horse";
/// Where Debian has its programs; those in the path of an administrator change the account first.
const PROGRAMS: &str = "/usr/lib/rabbitmq/bin";

/// A running broker.
pub struct RabbitMq {
    directory: TempDir,
    ports: [u16; 3],
    /// Names of nodes are found by it.
    _names: Process,
    process: Process,
}

impl RabbitMq {
    /// Starts one; none where it, or the client, is not installed.
    pub fn start() -> Option<Self> {
        let client = Command::new("/usr/bin/python3").args(["-c", "import pika"]).output();
        let has_client = client.is_ok_and(|output| output.status.success());
        if installed(&["/usr/lib/rabbitmq/bin/rabbitmq-server"]).is_none() || !has_client {
            skip("RabbitMQ and pika", "apt-get install rabbitmq-server python3-pika");
            return None;
        }
        let directory = tempfile::tempdir().unwrap();
        let ports = [free_port(), free_port(), free_port()];
        fs::write(directory.path().join("plugins"), "[].\n").unwrap();
        fs::write(directory.path().join("env"), "").unwrap();
        fs::write(
            directory.path().join("rabbitmq.conf"),
            format!(
                "listeners.tcp.1 = 127.0.0.1:{}\nvm_memory_high_watermark.absolute = 1GB\n\
                 disk_free_limit.absolute = 50MB\nloopback_users = none\n",
                ports[0]
            ),
        )
        .unwrap();
        let mut names = Command::new("epmd");
        names.args(["-port", &ports[2].to_string()]);
        let names = Process::start(&mut names, &directory.path().join("epmd.log"));
        wait_for_port(ports[2]);
        let process = spawn(&directory, ports);
        let broker = Self { directory, ports, _names: names, process };
        broker.wait_until_ready();
        broker.control(&["add_user", "gridcast", PASSWORD]);
        broker.control(&["set_permissions", "gridcast", ".*", ".*", ".*"]);
        Some(broker)
    }

    /// Its address.
    pub fn url(&self) -> String {
        format!("amqp://127.0.0.1:{}/%2f", self.ports[0])
    }

    /// Kills it without a word.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Starts it again with what it had.
    pub fn restart(&mut self) {
        wait_for("RabbitMQ to start again", Duration::from_secs(90), || {
            self.process = spawn(&self.directory, self.ports);
            // The name of the killed one may be known for a moment: then it ends at once.
            wait_for("an end or a beginning", Duration::from_secs(90), || {
                self.process.has_ended() || self.is_ready()
            });
            !self.process.has_ended()
        });
    }

    fn wait_until_ready(&self) {
        wait_for("RabbitMQ", Duration::from_secs(90), || self.is_ready());
    }

    fn is_ready(&self) -> bool {
        std::net::TcpStream::connect(("127.0.0.1", self.ports[0])).is_ok()
    }

    /// Messages in a queue: those ready, and those that were delivered and not acknowledged.
    pub fn queued(&self, queue: &str) -> u64 {
        let rows = self.control(&["-q", "list_queues", "--no-table-headers", "name", "messages"]);
        let row = rows.lines().find_map(|line| line.strip_prefix(queue)?.strip_prefix('\t'));
        row.map_or(0, |count| count.trim().parse().unwrap())
    }

    fn control(&self, arguments: &[&str]) -> String {
        let mut command = Command::new(Path::new(PROGRAMS).join("rabbitmqctl"));
        output_of(with_environment(command.args(arguments), &self.directory, self.ports))
    }

    /// A publisher that says which messages the broker has confirmed.
    pub fn publisher(&self) -> Publisher {
        Publisher::start(self.ports[0])
    }

    /// Reads `count` messages of a new queue that is bound with `key`; the queue is there when this
    /// returns.
    pub fn consumer(&self, queue: &str, key: &str) -> Consumer {
        Consumer::start(self.ports[0], queue, key)
    }
}

fn spawn(directory: &TempDir, ports: [u16; 3]) -> Process {
    let mut command = Command::new(Path::new(PROGRAMS).join("rabbitmq-server"));
    let log = directory.path().join("log");
    Process::start(with_environment(&mut command, directory, ports), &log)
}

fn with_environment<'a>(
    command: &'a mut Command,
    directory: &TempDir,
    [_, distribution, names]: [u16; 3],
) -> &'a mut Command {
    let path = |name: &str| directory.path().join(name);
    command
        .current_dir(directory.path())
        .env("HOME", directory.path())
        .env("ERL_EPMD_PORT", names.to_string())
        .env("RABBITMQ_NODENAME", "gridcast@localhost")
        .env("RABBITMQ_DIST_PORT", distribution.to_string())
        .env("RABBITMQ_MNESIA_BASE", path("mnesia"))
        .env("RABBITMQ_LOG_BASE", path("logs"))
        .env("RABBITMQ_CONFIG_FILE", path("rabbitmq.conf"))
        .env("RABBITMQ_CONF_ENV_FILE", path("env"))
        .env("RABBITMQ_ENABLED_PLUGINS_FILE", path("plugins"))
        .env("RABBITMQ_PID_FILE", path("pid"))
        .env("RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS", "+S 1:1 +sbwt none")
}

/// Publishes what it reads from its input; reconnects until the broker has confirmed each message.
pub struct Publisher {
    child: Child,
    input: ChildStdin,
    confirmed: Receiver<String>,
}

impl Publisher {
    fn start(port: u16) -> Self {
        let (child, confirmed) = script("publish.py", &[&port.to_string()]);
        let mut child = child;
        let input = child.stdin.take().unwrap();
        Self { child, input, confirmed }
    }

    /// Hands a message over: it will be published, sooner or later.
    pub fn publish(&mut self, key: &str, text: &str) {
        writeln!(self.input, "{key} {text}").unwrap();
    }

    /// Waits until the broker has confirmed `count` more messages.
    pub fn wait_until_confirmed(&self, count: usize) {
        for i in 0..count {
            let confirmed = self.confirmed.recv_timeout(Duration::from_secs(90));
            confirmed.unwrap_or_else(|_| panic!("{i} of {count} messages confirmed"));
        }
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// Reads a queue of its own.
pub struct Consumer {
    child: Child,
    lines: Receiver<String>,
}

impl Consumer {
    fn start(port: u16, queue: &str, key: &str) -> Self {
        let (child, lines) = script("consume.py", &[&port.to_string(), queue, key]);
        let consumer = Self { child, lines };
        assert_eq!(consumer.next(), "bound");
        consumer
    }

    /// The next message, as routing key and text.
    pub fn next(&self) -> String {
        self.lines.recv_timeout(Duration::from_secs(60)).unwrap()
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// Starts a script of `tests/peers` and answers what it prints.
fn script(name: &str, arguments: &[&str]) -> (Child, Receiver<String>) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers/rabbitmq").join(name);
    let mut command = Command::new("/usr/bin/python3");
    let command = command.arg(path).args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let output = BufReader::new(child.stdout.take().unwrap());
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        for line in output.lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    (child, receiver)
}
