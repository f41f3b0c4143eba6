//! The flags of `capture`. Must not act on any of them.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::SystemTime;

use clap::Args;

use crate::cli::options::{RunArgs, parse_within};

/// What to capture, and the output file.
#[derive(Debug, Args)]
pub struct CaptureArgs {
    /// Scenario, and flags that change what is published.
    #[command(flatten)]
    pub run: RunArgs,
    /// The packet capture to write.
    #[arg(long, value_name = "FILE")]
    pub pcap: PathBuf,
    /// Length [1..=3600 s].
    #[arg(long, value_name = "SECONDS", default_value = "1",
          value_parser = |text: &str| parse_within(text, 1..=3600))]
    pub seconds: u64,
    /// Start of the capture, e.g. `2026-01-01T00:00:00Z`; the same instant and seed give the same
    /// bytes.
    #[arg(long, value_name = "UTC", default_value = "2026-01-01T00:00:00Z")]
    pub from: UtcSecond,
}

/// Seconds since the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UtcSecond(pub u64);

impl FromStr for UtcSecond {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no instant; write e.g. `2026-01-01T00:00:00Z`");
        let at = humantime::parse_rfc3339(text).map_err(|_| wrong())?;
        let since = at.duration_since(SystemTime::UNIX_EPOCH).map_err(|_| wrong())?;
        Ok(UtcSecond(since.as_secs()))
    }
}
