//! A Kafka broker of one node, and Kafka's own tools as clients. The files come from Maven
//! (`scripts/bridges --install`). Must not share code with the bridge.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use tempfile::TempDir;

use super::harness::process::skip;
use super::process::{Process, free_port, output_of, wait_for_port};

/// The password of the account of the bridge, `gridcast`.
pub const PASSWORD: &str = "correct horse";

/// A running broker.
pub struct Kafka {
    jars: PathBuf,
    directory: TempDir,
    /// Open to all, open to those who say who they are.
    ports: [u16; 2],
    process: Process,
}

impl Kafka {
    /// Starts one; none where Java or Kafka's files are missing.
    pub fn start() -> Option<Self> {
        let jars = Path::new(env!("CARGO_TARGET_TMPDIR")).parent()?.join("bridges/kafka");
        let has_java = Command::new("java").arg("-version").output().is_ok();
        if !has_java || !jars.is_dir() {
            skip("Kafka", "scripts/bridges --install --only kafka (Java and Maven)");
            return None;
        }
        let directory = tempfile::tempdir().unwrap();
        let (ports, controller) = ([free_port(), free_port()], free_port());
        let settings = directory.path().join("server.properties");
        fs::write(&settings, properties(&directory, ports, controller)).unwrap();
        let mut format = java(&jars, "kafka.tools.StorageTool");
        format.args(["format", "-t", "MkU3OEVBNTcwNTJENDM2Qg", "-c"]).arg(&settings);
        output_of(&mut format);
        let process = spawn(&jars, &directory);
        wait_for_port(ports[0]);
        Some(Self { jars, directory, ports, process })
    }

    /// Its address, for everybody.
    pub fn url(&self) -> String {
        format!("kafka://{}", self.bootstrap())
    }

    /// Its address, for the account of the bridge.
    pub fn url_with_users(&self) -> String {
        format!("kafka://127.0.0.1:{}", self.ports[1])
    }

    fn bootstrap(&self) -> String {
        format!("127.0.0.1:{}", self.ports[0])
    }

    /// Kills it without a word.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Starts it again with what it had.
    pub fn restart(&mut self) {
        self.process = spawn(&self.jars, &self.directory);
        wait_for_port(self.ports[0]);
    }

    /// Makes a topic.
    pub fn create_topic(&self, topic: &str, partitions: u32) {
        let partitions = partitions.to_string();
        let mut command = self.tool("org.apache.kafka.tools.TopicCommand");
        command.args(["--create", "--topic", topic, "--partitions", &partitions]);
        output_of(&mut command);
    }

    /// What a group has committed of a topic, over all its partitions.
    pub fn committed(&self, group: &str, topic: &str) -> u64 {
        let mut command = self.tool("org.apache.kafka.tools.consumer.group.ConsumerGroupCommand");
        let text = output_of(command.args(["--describe", "--group", group]));
        let rows = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        let of_topic = rows.filter(|row| row.get(1) == Some(&topic));
        of_topic.map(|row| row[3].parse::<u64>().unwrap_or(0)).sum()
    }

    /// Publishes lines (`key:text`) and waits until the broker has them.
    pub fn publish(&self, topic: &str, lines: &str) {
        let mut command = self.tool("org.apache.kafka.tools.ConsoleProducer");
        command.args(["--topic", topic, "--reader-property", "parse.key=true"]);
        command.args(["--reader-property", "key.separator=:"]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
        assert!(child.wait().unwrap().success());
    }

    /// Begins to publish the numbers 0 to `count - 1`, so many a second, with keys 0 to 9.
    pub fn publisher(&self, topic: &str, count: u32, per_second: u32) -> Publisher {
        let mut command = self.tool("org.apache.kafka.tools.VerifiableProducer");
        command.args(["--topic", topic, "--max-messages", &count.to_string()]);
        command.args(["--throughput", &per_second.to_string(), "--repeating-keys", "10"]);
        Publisher::start(command)
    }

    /// Reads `count` records of a topic from its beginning, as `key text`.
    pub fn read(&self, topic: &str, count: usize) -> Vec<String> {
        let mut command = self.tool("org.apache.kafka.tools.consumer.ConsoleConsumer");
        command.args(["--topic", topic, "--from-beginning", "--timeout-ms", "30000"]);
        command.args(["--max-messages", &count.to_string()]);
        command.args(["--formatter-property", "print.key=true"]);
        command.args(["--formatter-property", "key.separator= "]);
        output_of(&mut command).lines().map(str::to_owned).collect()
    }

    fn tool(&self, class: &str) -> Command {
        let mut command = java(&self.jars, class);
        command.args(["--bootstrap-server", &self.bootstrap()]);
        command
    }
}

fn properties(directory: &TempDir, [open, asking]: [u16; 2], controller: u16) -> String {
    let data = directory.path().join("data");
    let module = "org.apache.kafka.common.security.plain.PlainLoginModule";
    format!(
        "process.roles=broker,controller\nnode.id=1\n\
         controller.quorum.voters=1@127.0.0.1:{controller}\n\
         controller.listener.names=CONTROLLER\ninter.broker.listener.name=PLAINTEXT\n\
         listeners=PLAINTEXT://127.0.0.1:{open},USERS://127.0.0.1:{asking},\
         CONTROLLER://127.0.0.1:{controller}\n\
         listener.security.protocol.map=PLAINTEXT:PLAINTEXT,USERS:SASL_PLAINTEXT,\
         CONTROLLER:PLAINTEXT\n\
         sasl.enabled.mechanisms=PLAIN\n\
         listener.name.users.plain.sasl.jaas.config={module} required \
         user_gridcast=\"{PASSWORD}\";\n\
         log.dirs={}\noffsets.topic.replication.factor=1\noffsets.topic.num.partitions=1\n\
         transaction.state.log.replication.factor=1\ntransaction.state.log.min.isr=1\n\
         share.coordinator.state.topic.replication.factor=1\n\
         share.coordinator.state.topic.min.isr=1\n\
         group.initial.rebalance.delay.ms=0\nauto.create.topics.enable=false\n\
         group.min.session.timeout.ms=1000\n",
        data.display()
    )
}

fn spawn(jars: &Path, directory: &TempDir) -> Process {
    let mut command = java(jars, "kafka.Kafka");
    command.arg(directory.path().join("server.properties"));
    Process::start(&mut command, &directory.path().join("log"))
}

fn java(jars: &Path, class: &str) -> Command {
    let mut command = Command::new("java");
    command.args(["-Xmx384m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-cp"]);
    command.arg(jars.join("*")).arg(class).stderr(Stdio::null());
    command
}

/// A publisher at work. It tries each message once: what the broker did not acknowledge may be
/// there or not.
pub struct Publisher {
    child: Child,
    /// Texts of the messages that the broker has.
    acknowledged: Receiver<String>,
}

impl Publisher {
    fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let (sender, acknowledged) = channel();
        std::thread::spawn(move || {
            let lines = output.lines().map_while(Result::ok);
            for line in lines.filter(|line| line.contains("producer_send_success")) {
                let (_, value) = line.split_once("\"value\":\"").unwrap();
                let value = value.split('"').next().unwrap().to_owned();
                if sender.send(value).is_err() {
                    return;
                }
            }
        });
        Self { child, acknowledged }
    }

    /// Waits until it has tried all; answers what the broker has acknowledged.
    pub fn finish(mut self) -> Vec<String> {
        self.child.wait().unwrap();
        self.acknowledged.iter().collect()
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        self.child.wait().unwrap();
    }
}
