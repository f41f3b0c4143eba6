//! The command lines of the tools. Must not act on them.

use std::path::PathBuf;

use clap::{Args, Subcommand};

// No comment for the manual here: it would take the place of the program's.
#[derive(Debug, Subcommand)]
pub enum Tool {
    /// Publish texts, a file, or each line of the standard input
    Pub(PubArgs),
    /// Follow a topic or pattern: pretty on a terminal, a JSON object a line in a pipe
    Sub(SubArgs),
    /// Watch a server: connections, topics, rates; one snapshot in a pipe
    Top(TopArgs),
    /// Examine this host: what would limit so many subscribers, and what to do about it
    Doctor(DoctorArgs),
}

/// Where the server is, and how it is met.
#[derive(Debug, Args)]
pub struct ServerArgs {
    /// The server, as ws://host:port or wss://host
    #[arg(long, env = "GRIDCAST_URL", value_name = "URL", default_value = "ws://127.0.0.1:9400")]
    pub url: String,
    /// The token; better in a file or the environment, where no list of processes shows it
    #[arg(long, env = "GRIDCAST_TOKEN", value_name = "TOKEN", hide_env_values = true)]
    pub token: Option<String>,
    /// A file with the token, read for each connection
    #[arg(long, value_name = "FILE", conflicts_with = "token")]
    pub token_file: Option<PathBuf>,
    /// A file of the authorities to trust, in PEM; this host's by default
    #[arg(long, value_name = "FILE")]
    pub tls_roots: Option<PathBuf>,
}

const PUB_AFTER: &str = "\
Examples:
  gridcast pub pmu/1001 '{\"hz\":59.98}'
  tail -f readings.ndjson | gridcast pub readings

Exit codes: 0 all is published, 1 something is not, 2 wrong usage, 130 interrupted";

/// `gridcast pub`.
#[derive(Debug, Args)]
#[command(after_help = PUB_AFTER)]
pub struct PubArgs {
    /// The topic
    pub topic: String,
    /// Texts, a message each; without them and --file, each line of the standard input
    #[arg(value_name = "TEXT")]
    pub texts: Vec<String>,
    /// Publish a file as one message: text where it is UTF-8, else bytes; - for standard input
    #[arg(long, value_name = "FILE", conflicts_with = "texts")]
    pub file: Option<PathBuf>,
    /// Send again what got no reply: subscribers may get it twice
    #[arg(long)]
    pub retry: bool,
    /// Print nothing for what is published
    #[arg(long, short)]
    pub quiet: bool,
    #[command(flatten)]
    pub server: ServerArgs,
}

const SUB_AFTER: &str = "\
Examples:
  gridcast sub 'pmu/#' --from last --rate 1
  gridcast sub alarms | jq .data

Exit codes: 0 done (--count) or nobody reads any more, 1 refused or failed,
2 wrong usage, 130 interrupted";

/// `gridcast sub`.
#[derive(Debug, Args)]
#[command(after_help = SUB_AFTER)]
pub struct SubArgs {
    /// A topic or pattern, as in pmu/+/freq or 'pmu/#'
    pub pattern: String,
    /// Where to begin: latest, last, oldest or {epoch}-{seq}
    #[arg(long, value_name = "WHERE", default_value = "latest")]
    pub from: String,
    /// Messages a second of each topic, at most
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub rate: Option<u32>,
    /// End after so many messages
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(1..))]
    pub count: Option<u64>,
    /// Only the newest where this falls behind, instead of every message
    #[arg(long)]
    pub newest: bool,
    /// A JSON object a line on a terminal as well
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub server: ServerArgs,
}

const TOP_AFTER: &str = "\
Exit codes: 0 done, 1 refused or failed, 2 wrong usage, 130 interrupted";

/// `gridcast top`.
#[derive(Debug, Args)]
#[command(after_help = TOP_AFTER)]
pub struct TopArgs {
    /// Seconds between two looks
    #[arg(long, value_name = "SECONDS", default_value_t = 1,
          value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub every: u64,
    /// One snapshot on a terminal as well
    #[arg(long)]
    pub once: bool,
    #[command(flatten)]
    pub server: ServerArgs,
}

const DOCTOR_AFTER: &str = "\
Exit codes: 0 nothing would limit them, 1 something would, 2 wrong usage";

/// `gridcast doctor`.
#[derive(Debug, Args)]
#[command(after_help = DOCTOR_AFTER)]
pub struct DoctorArgs {
    /// Connections that the server is to have
    #[arg(long, value_name = "NUMBER", default_value_t = 10_000,
          value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    pub subscribers: u64,
    /// Connections that come in one second, after a restart for example
    #[arg(long, value_name = "NUMBER", default_value_t = 5_000)]
    pub arrivals: u64,
}
