//! The flags of `replay`. Must not act on any of them.

use std::path::PathBuf;

use clap::Args;

use crate::cli::options::{LOAD, RunOptions};
use crate::scenario::publishers::parse_topic_prefix;

const REPLAY_HELP: &str = "\
Reads pcap and pcapng with Ethernet (VLAN tags too), Linux cooked or plain IP:
UDP datagrams and reassembled TCP streams. Each stream, that is the frames of
one source with one IDCODE, becomes a publisher of {topic}/{IDCODE}.
Configuration frames are not published. Everything left out is counted and
reported. The limits are 1 GiB of frames and 64,534 streams.

The first frame is published on a whole UTC second, the others in the spacing
in which they were captured, divided by --speed. Frames are not changed;
--restamp sets SOC and FRACSEC to the current time, in the TIME_BASE of the
stream's configuration, for readers that discard old frames.

All flags of a load are accepted (`gridload help load`) except --publishers,
--rate, --phase and --payload. By default 100 dashboards follow one stream each
and one follows all. The default of --slip-limit is five times the speed, at
most one period.

  gridload replay frames.pcap --speed 10
  gridload replay frames.pcapng --subscribers 1000 --duration 30s";

/// The capture to replay, and how.
#[derive(Debug, Args)]
#[command(after_help = REPLAY_HELP)]
pub struct ReplayArgs {
    /// A packet capture with C37.118 frames, pcap or pcapng.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// How many times faster than recorded [1..=100].
    #[arg(long, value_name = "TIMES", default_value = "1", value_parser = parse_speed,
          help_heading = LOAD)]
    pub speed: f64,
    /// Set the time stamps of the frames to the current time instead of the recorded one.
    #[arg(long, help_heading = LOAD)]
    pub restamp: bool,
    /// Prefix of the topics, before the IDCODE: `pmu/1001`.
    #[arg(long, value_name = "PREFIX", default_value = "pmu", value_parser = parse_topic_prefix,
          help_heading = LOAD)]
    pub topic: String,
    /// Subscribers, target and result.
    #[command(flatten)]
    pub options: RunOptions,
}

fn parse_speed(text: &str) -> Result<f64, String> {
    let speed = text.trim_end_matches('x').parse().ok();
    let speed = speed.filter(|speed| (1.0..=100.0).contains(speed));
    speed.ok_or_else(|| format!("`{text}` is not in 1..=100"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn speeds_have_a_range() {
        assert_eq!(
            [parse_speed("1"), parse_speed("2.5"), parse_speed("100x")],
            [1.0, 2.5, 100.0].map(Ok)
        );
        for wrong in ["0.5", "101", "fast", "NaN", ""] {
            assert!(parse_speed(wrong).is_err(), "{wrong}");
        }
    }
}
