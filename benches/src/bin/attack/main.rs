//! Attacks on an engine under test, each a subcommand, bounded in count and time, and a storm of
//! clients that come back. Owns the command line and the verdict: whether every attacker got an
//! answer the wire document states. Must not use any code of the engine, nor measure healthy
//! subscribers: `scripts/attacks` puts those beside it.

mod crowd;
mod script;
mod storm;

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use crate::script::Attack;

/// Attacks an engine that you run yourself, on this host, and checks what it answers.
///
/// Prints one line of JSON: how many attackers got which answer, and how many of those were not
/// among the stated ones. Exits with 0 when none was, else with 1.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Many attackers of one kind, some at a time.
    Crowd(CrowdArgs),
    /// Many clients that are cut off at once and come back with exponential backoff and jitter.
    Storm(StormArgs),
}

#[derive(Debug, Args)]
struct CrowdArgs {
    /// What each attacker does.
    attack: Attack,
    /// Where the engine listens; a loopback address.
    #[arg(long, value_parser = parse_target)]
    target: SocketAddr,
    /// Attackers in all.
    #[arg(long, default_value_t = 1_000,
          value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    count: u32,
    /// Attackers at a time.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    at_once: u32,
    /// Seconds after which those that have no answer yet are counted as silent.
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=600))]
    seconds: u32,
}

#[derive(Debug, Args)]
struct StormArgs {
    /// Where the engine listens; a loopback address.
    #[arg(long, value_parser = parse_target)]
    target: SocketAddr,
    /// Clients, all subscribers of the topic `storm`.
    #[arg(long, default_value_t = 20_000,
          value_parser = clap::value_parser!(u32).range(1..=200_000))]
    clients: u32,
    /// Threads, each with a descriptor table of its own.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=64))]
    threads: u32,
    /// Clients connected per second before the storm.
    #[arg(long, default_value_t = 4_000,
          value_parser = clap::value_parser!(u32).range(1..=100_000))]
    ramp_per_s: u32,
    /// Seconds between the last client's arrival and the cut.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(0..=600))]
    calm: u32,
    /// Seconds after the cut until those that are not back are counted as missing.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=600))]
    seconds: u32,
    /// Who cuts.
    #[arg(long, value_enum, default_value_t = storm::Cut::Reset)]
    cut: storm::Cut,
}

/// How often something happened, by its name.
type Counts = BTreeMap<String, u64>;

fn main() -> io::Result<ExitCode> {
    let is_well = match Cli::parse().command {
        Command::Crowd(args) => attack(&args)?,
        Command::Storm(args) => withstand(&args)?,
    };
    Ok(if is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn attack(args: &CrowdArgs) -> io::Result<bool> {
    let script = args.attack.script();
    let within = Duration::from_secs(args.seconds.into());
    let (answers, took) = crowd::run(&script, args.target, args.count, args.at_once, within)?;
    let is_stated = |answer: &String| script.stated.contains(&answer.as_str());
    let wrong: u64 = answers.iter().filter(|(answer, _)| !is_stated(answer)).map(|(_, n)| n).sum();
    let line = serde_json::json!({
        "attack": args.attack.name(), "count": args.count, "answers": answers,
        "stated": script.stated, "wrong": wrong, "seconds": took.as_secs_f64(),
    });
    println!("{line}");
    Ok(wrong == 0)
}

fn withstand(args: &StormArgs) -> io::Result<bool> {
    let plan = storm::Plan {
        target: args.target,
        clients: args.clients,
        threads: args.threads,
        ramp_per_s: args.ramp_per_s,
        calm: Duration::from_secs(args.calm.into()),
        within: Duration::from_secs(args.seconds.into()),
        cut: args.cut,
    };
    let came = storm::run(&plan)?;
    println!(
        "{}",
        serde_json::json!({
            "attack": "storm", "clients": args.clients, "connected": came.connected,
            "back": came.back, "all_back_s": came.all_back_ns as f64 / 1e9,
            "refusals": came.refusals, "refused_wrongly": came.refused_wrongly(args.cut),
        })
    );
    Ok(came.back == u64::from(args.clients) && came.refused_wrongly(args.cut) == 0)
}

/// A loopback address: this is no tool to aim at others.
fn parse_target(text: &str) -> Result<SocketAddr, String> {
    let target: SocketAddr = text.parse().map_err(|error| format!("{error}"))?;
    if target.ip().is_loopback() { Ok(target) } else { Err("not a loopback address".into()) }
}
