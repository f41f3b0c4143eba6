//! The flags of `agent`. Must not act on any of them.

use std::net::SocketAddr;

use clap::Args;

use crate::cli::options::{CpuList, parse_secret, parse_threads};
use crate::plan::budget::LayoutRequest;
use crate::scenario::source::SourceRange;

const AGENT_HELP: &str = "\
An agent carries its share of a load for `gridload run --target … --agents
HOST:PORT,…`, one load at a time, until it is ended. All agents and the
conductor must be of the same version. Clocks need not agree: how far they are
apart is measured, taken out, and what is left is told beside each latency.

Whoever is let in decides which server this host sends its load to. What is
said between conductor and agent, the secret and a token among it, is not
encrypted: keep it to a network you trust.";

/// How to be an agent.
#[derive(Debug, Args)]
#[command(after_help = AGENT_HELP)]
pub struct AgentArgs {
    /// Address to be reached at; port 0 takes a free one.
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:9500")]
    pub listen: SocketAddr,
    /// What a conductor must show with --agent-secret; needed where other hosts reach the address.
    #[arg(long, value_name = "TEXT", value_parser = parse_secret, env = "GRIDLOAD_AGENT_SECRET",
          hide_env_values = true)]
    pub secret: Option<String>,
    /// Do without a secret where other hosts reach the address: let in whoever does.
    #[arg(long)]
    pub insecure: bool,
    /// Pretend that the clock is ahead by so much, to show that it is noticed, ms.
    #[arg(long, value_name = "MS", default_value = "0", hide = true)]
    pub clock_ahead_ms: u32,
    /// End after one load.
    #[arg(long)]
    pub once: bool,
    /// Subscriber threads, each with a descriptor table of its own [default: as many as needed].
    #[arg(long, value_name = "N", value_parser = parse_threads)]
    pub threads: Option<usize>,
    /// CPUs to use, e.g. `2,4-7` [default: all].
    #[arg(long, value_name = "LIST")]
    pub cpus: Option<CpuList>,
    /// Local addresses to connect from, one or a CIDR block; may be repeated
    /// [default: the kernel's choice].
    #[arg(long, value_name = "IP", value_delimiter = ',')]
    pub source_ip: Vec<SourceRange>,
}

impl AgentArgs {
    /// What the budget must respect.
    pub fn layout_request(&self) -> LayoutRequest {
        LayoutRequest {
            threads: self.threads,
            cpus: self.cpus.clone().map(|list| list.0),
            ..LayoutRequest::default()
        }
    }
}
