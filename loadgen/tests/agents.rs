//! Loads that several agents share, as processes of their own: together they must find exactly what
//! one generator would, and a lost agent must void the run.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking, as tests do")]

mod support;

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::thread;

use serde_json::Value;
use support::{Done, Faults, Server};

/// An agent; killed when it is dropped.
struct Agent {
    process: Child,
    address: String,
}

impl Agent {
    fn start(arguments: &[&str]) -> Agent {
        let mut process = Command::new(env!("CARGO_BIN_EXE_gridload"))
            .args(["agent", "--listen", "127.0.0.1:0"])
            .args(arguments)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("agent on ").unwrap().to_owned();
        Agent { process, address }
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // One that has ended needs no end.
        let _ = self.process.kill();
        self.process.wait().unwrap();
    }
}

fn conductor(server: &Server, agents: &[&Agent], publishers: &str, out: &Path) -> Command {
    let addresses: Vec<&str> = agents.iter().map(|agent| agent.address.as_str()).collect();
    let mut command = Command::new(env!("CARGO_BIN_EXE_gridload"));
    command
        .args(["run", "quickstart", "--subscribers", "21", "--publishers", publishers])
        .args([
            "--rate",
            "50",
            "--warmup",
            "0s",
            "--duration",
            "2s",
            "--drain",
            "2s",
            "--slip-limit",
            "100",
        ])
        .args(["--target", &format!("ws://{}", server.address)])
        .args(["--agents", &addresses.join(",")])
        .args(["--out", out.to_str().unwrap()]);
    command
}

fn record(out: &Path) -> Value {
    serde_json::from_str(&std::fs::read_to_string(out.join("run.json")).unwrap()).unwrap()
}

fn text_of(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn two_agents_find_what_one_generator_would() {
    let out = tempfile::tempdir().unwrap();
    let server = Server::start(Faults { lose: Some(7), ..Faults::default() });
    let agents = [Agent::start(&["--once"]), Agent::start(&["--once"])];
    let output = conductor(&server, &[&agents[0], &agents[1]], "3", out.path()).output().unwrap();
    let record = record(out.path());
    let valid = record["health"]["valid"].as_bool().unwrap();
    let expected = if valid { 4 } else { 5 };
    assert_eq!(output.status.code(), Some(expected), "{} {record}", text_of(&output));
    let class = &record["totals"]["classes"][0];
    let (lost, delivered) = (Done::of(&server.done.lost), Done::of(&server.done.delivered));
    assert!(lost > 0);
    assert_eq!((&class["lost"], &class["received"]), (&lost.into(), &delivered.into()));
    assert_eq!((&class["expected"], &class["sockets"]), (&2_100.into(), &21.into()));
    assert_eq!(class["e2e"]["count"], class["received"]);
    assert_eq!(record["totals"]["publishers"]["sent"], 300);
    let seconds = record["windows"].as_array().unwrap();
    let received: u64 = seconds.iter().map(|second| second["received"].as_u64().unwrap()).sum();
    assert_eq!(class["received"], received);
    assert_eq!(record["clock"]["mode"], "agents");
    assert!(record["clock"]["bound_ns"].as_u64().unwrap() > 0);
    let threads = record["health"]["threads"].as_array().unwrap();
    for agent in &agents {
        let of = |thread: &&Value| thread["name"].as_str().unwrap().starts_with(&agent.address);
        assert!(threads.iter().filter(of).count() >= 2, "{threads:?}");
    }
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains('±') && text.contains("clock of 127.0.0.1:"), "{text}");
}

#[test]
fn an_agent_without_a_publisher_hears_those_of_the_others() {
    let out = tempfile::tempdir().unwrap();
    let server = Server::start(Faults::default());
    let agents = [Agent::start(&[]), Agent::start(&[])];
    let mut conductor = conductor(&server, &[&agents[0], &agents[1]], "1", out.path());
    let output = conductor.args(["--set", "slo.e2e_max=1h"]).output().unwrap();
    assert!(matches!(output.status.code(), Some(0 | 5)), "{}", text_of(&output));
    let record = record(out.path());
    let goals = record["slo"].as_array().unwrap();
    let goal = goals.iter().find(|goal| goal["goal"] == "e2e_max").unwrap();
    assert_eq!((&goal["pass"], &goal["result"]), (&true.into(), &"met".into()));
    assert!(goal["measured"].as_str().unwrap().contains('±'), "{goal}");
    let class = &record["totals"]["classes"][0];
    assert_eq!((&class["lost"], &class["misdelivered"]), (&0.into(), &0.into()));
    assert_eq!(class["received"], class["expected"]);
    let gates = record["health"]["gates"].as_array().unwrap().iter();
    let mut published = gates.filter(|g| g["name"].as_str().unwrap().ends_with("published"));
    assert!(published.all(|gate| gate["pass"] == true), "one has nothing to publish");
}

#[test]
fn laps_of_agents_add_up() {
    let out = tempfile::tempdir().unwrap();
    let server = Server::start(Faults::default());
    let agents = [Agent::start(&[]), Agent::start(&[])];
    let mut conductor = conductor(&server, &[&agents[0], &agents[1]], "2", out.path());
    let output = conductor.args(["--profile", "2 steps of publishers"]).output().unwrap();
    assert!(matches!(output.status.code(), Some(0 | 5)), "{}", text_of(&output));
    let record = record(out.path());
    let laps = record["laps"].as_array().unwrap();
    let each = |key: &str| laps.iter().map(|lap| lap[key].as_f64().unwrap()).collect::<Vec<_>>();
    assert_eq!((each("publishers"), each("sockets")), (vec![1.0, 2.0], vec![21.0, 21.0]));
    assert_eq!(each("publishes_per_s"), [50.0, 100.0]);
    assert_eq!(each("deliveries_per_s")[1], 21.0 * 50.0, "one topic each");
    let class = &record["totals"]["classes"][0];
    assert_eq!(class["e2e"]["count"], each("scored").iter().sum::<f64>() as u64);
    assert_eq!((&class["received"], &class["lost"]), (&class["expected"], &0.into()));
}

#[test]
fn a_clock_that_is_ahead_is_measured_and_taken_out() {
    let out = tempfile::tempdir().unwrap();
    let server = Server::start(Faults::default());
    let agents = [Agent::start(&[]), Agent::start(&["--clock-ahead-ms", "60000"])];
    let output = conductor(&server, &[&agents[0], &agents[1]], "3", out.path()).output().unwrap();
    assert!(matches!(output.status.code(), Some(0 | 5)), "{}", text_of(&output));
    let record = record(out.path());
    let clocks = &record["clock"]["agents"];
    let ahead_ns = |agent: usize| clocks[agent]["ahead_ns"].as_i64().unwrap();
    assert!(ahead_ns(0).abs() < 1_000_000_000, "{clocks}");
    assert!((ahead_ns(1) - 60_000_000_000).abs() < 1_000_000_000, "{clocks}");
    let class = &record["totals"]["classes"][0];
    assert_eq!((&class["received"], &class["lost"]), (&class["expected"], &0.into()));
    assert!(class["e2e"]["max_ns"].as_i64().unwrap() < 30_000_000_000, "{class}");
}

#[test]
fn a_lost_agent_voids_the_run_and_is_named() {
    let out = tempfile::tempdir().unwrap();
    let server = Server::start(Faults::default());
    let stays = Agent::start(&["--once"]);
    let mut leaves = Agent::start(&["--once"]);
    let mut conductor = conductor(&server, &[&stays, &leaves], "3", out.path());
    let running = conductor.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    while Done::of(&server.done.published) < 30 {
        thread::yield_now();
    }
    leaves.process.kill().unwrap();
    let output = running.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(5), "{}", text_of(&output));
    assert!(text_of(&output).contains(&format!("agent {} was lost", leaves.address)));
    let record = record(out.path());
    let reasons = record["health"]["reasons"].to_string();
    assert!(reasons.contains("agents: 1 of 2 reported"), "{reasons}");
}

#[test]
fn strangers_are_not_let_in() {
    let out = tempfile::tempdir().unwrap();
    let server = Server::start(Faults::default());
    let agent = Agent::start(&["--once", "--secret", "correct horse"]);
    let mut conductor = conductor(&server, &[&agent], "3", out.path());
    let output = conductor.args(["--agent-secret", "wrong horse"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(
        text_of(&output).contains("the secret is not the one of this agent"),
        "{}",
        text_of(&output)
    );
    let mut open = Command::new(env!("CARGO_BIN_EXE_gridload"));
    let output = open.args(["agent", "--listen", "0.0.0.0:0"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(text_of(&output).contains("can be reached from other hosts: give --secret"));
}

#[test]
fn nobody_at_the_address_is_told_with_the_cure() {
    let out = tempfile::tempdir().unwrap();
    let server = Server::start(Faults::default());
    let gone = Agent::start(&["--once"]);
    let address = gone.address.clone();
    drop(gone);
    let nobody = Agent { process: Command::new("true").spawn().unwrap(), address };
    let output = conductor(&server, &[&nobody], "3", out.path()).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(text_of(&output).contains("gridload agent --listen"), "{}", text_of(&output));
}
