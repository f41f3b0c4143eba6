//! The flags of `record`. Must not act on any of them.

use std::path::PathBuf;

use clap::Args;

use crate::cli::options::{TARGET, parse_token, parse_within};
use crate::scenario::target::{TargetUrl, parse_target_url};

const RECORD_HELP: &str = "\
Subscribes over one WebSocket (gridcast.v1.bin) and writes every C37.118 frame
with its time of arrival, as a UDP packet in plain IP with one source address
per topic. Messages that are not C37.118 frames are counted and reported, but
not written. Ends after --seconds or at Ctrl-C. If the server closes the
connection earlier, the file is complete up to there and the exit code is 1.

  gridload record --target ws://127.0.0.1:9400 --topic 'pmu/#' --seconds 600 --pcap frames.pcap
  gridload replay frames.pcap --speed 10";

/// What to record, and the output file.
#[derive(Debug, Args)]
#[command(after_help = RECORD_HELP)]
pub struct RecordArgs {
    /// A gridcast server, e.g. `ws://10.0.0.5:9400` or `wss://…`.
    #[arg(long, value_name = "URL", value_parser = parse_target_url)]
    pub target: TargetUrl,
    /// A topic or pattern to record; may be repeated. A topic that two of them match is recorded
    /// twice.
    #[arg(long, value_name = "PATTERN", default_value = "#")]
    pub topic: Vec<String>,
    /// Length [1..=604800 s].
    #[arg(long, value_name = "SECONDS", default_value = "60",
          value_parser = |text: &str| parse_within(text, 1..=604_800))]
    pub seconds: u64,
    /// The packet capture to write.
    #[arg(long, value_name = "FILE")]
    pub pcap: PathBuf,
    /// Bearer token of the subscriber.
    #[arg(long, value_name = "TOKEN", value_parser = parse_token, help_heading = TARGET)]
    pub token: Option<String>,
    /// CA certificates (PEM) that the server's certificate is verified with
    /// [default: those of this host].
    #[arg(long, value_name = "FILE", help_heading = TARGET)]
    pub tls_ca: Option<PathBuf>,
    /// Accept any certificate of the server.
    #[arg(long, conflicts_with = "tls_ca", help_heading = TARGET)]
    pub tls_insecure: bool,
}
