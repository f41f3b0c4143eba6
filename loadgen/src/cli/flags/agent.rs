//! The flags of `agent`. Must not act on any of them.

use std::net::SocketAddr;

use clap::Args;

use crate::cli::options::{CpuList, parse_secret, parse_threads};
use crate::plan::budget::LayoutRequest;
use crate::scenario::source::SourceRange;

const AGENT_HELP: &str = "\
An agent carries its share of a load for `gridload run --target … --agents
HOST:PORT,…`, one load at a time, until it is stopped. All agents and the
conductor must have the same version. Clocks need not agree: their offsets are
measured and subtracted, and the remaining error is shown with each latency.

A conductor decides which server this host sends its load to. Messages between
conductor and agent, including the secret and tokens, are not encrypted: use
agents only on a network you trust.";

/// Where an agent listens, and what it may use.
#[derive(Debug, Args)]
#[command(after_help = AGENT_HELP)]
pub struct AgentArgs {
    /// Address to listen on; port 0 chooses a free port.
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:9500")]
    pub listen: SocketAddr,
    /// Secret that a conductor must present with --agent-secret; required if other hosts can reach
    /// the address.
    #[arg(long, value_name = "TEXT", value_parser = parse_secret, env = "GRIDLOAD_AGENT_SECRET",
          hide_env_values = true)]
    pub secret: Option<String>,
    /// Accept any conductor without a secret, even if other hosts can reach the address.
    #[arg(long)]
    pub insecure: bool,
    /// Run with a clock that is ahead by this much, to test that it is detected, ms.
    #[arg(long, value_name = "MS", default_value = "0", hide = true)]
    pub clock_ahead_ms: u32,
    /// Exit after one load.
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
