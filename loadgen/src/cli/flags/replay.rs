//! The flags of `replay`. Must not act on any of them.

use std::path::PathBuf;

use clap::Args;

use crate::cli::options::{LOAD, RunOptions};
use crate::scenario::publishers::parse_topic_prefix;

const REPLAY_HELP: &str = "\
Reads pcap and pcapng with Ethernet (VLAN tags too), Linux cooked or plain IP: UDP datagrams, and
TCP streams put together from their segments, frames cut by FRAMESIZE. Each stream, which is one
source's frames under one IDCODE, becomes a publisher of {topic}/{IDCODE}; a second source of an
IDCODE gets a free one, in its frames too. Of frames with the same SOC and FRACSEC a stream
publishes the first, as frames are known by these. Configuration frames are not published. All that
is left out is counted and told. At most 1 GiB of frames is kept, and 64,534 streams.

The first frame is published on a whole UTC second, the others in the spacing in which they were
captured, divided by --speed. Frames are not changed, so their SOC and FRACSEC stay those of the
recording; latencies count from the instants at which frames are due in the replay.

Readers of such frames discard old ones. --restamp gives each the SOC and FRACSEC of now: the first
frame's are the instant at which it is due, and the others keep their recorded distance from that,
divided by --speed, so that frames of one instant stay frames of one instant. (A stream whose clock
was off by more than a second begins at the instant at which its first frame is due.) FRACSEC is in
the TIME_BASE of the stream's configuration, microseconds if none was recorded; leap second and time
quality bits stay, and the checksum is made anew. Stamps that would fall on one unit are set apart.

All flags of `run` are taken but --publishers, --rate, --phase and --payload, which the recording
decides. By default 100 dashboards follow a stream each and one follows them all, and all of the
recording is measured. How late publishes may be (--slip-limit, in percent of a stream's period) is
by default five times the speed, up to a period: as much as at the recorded speed.

  gridload replay frames.pcap --speed 10
  gridload replay frames.pcapng --target ws://127.0.0.1:9400 --subscribers 1000 --duration 30s";

/// What to replay, and how.
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
    /// Give frames the time stamps of now instead of those of the recording, byte for byte.
    #[arg(long, help_heading = LOAD)]
    pub restamp: bool,
    /// Topics are this and the IDCODE: `pmu/1001`.
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
