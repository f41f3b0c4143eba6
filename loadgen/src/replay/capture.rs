//! `gridload capture`: writes the C37.118 frames that a scenario would publish to a packet capture,
//! so that other tools can check them. Must not publish.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;

use thiserror::Error;

use crate::cli::flags::capture::CaptureArgs;
use crate::cli::overrides;
use crate::cli::overrides::ResolveError;
use crate::codec::c37118;
use crate::codec::c37118::{Envelope, Station};
use crate::codec::payload::Payload;
use crate::judge::exit::Exit;
use crate::os::output::say;
use crate::plan::encoder::Encoder;
use crate::plan::layout::Layout;
use crate::plan::plan::{Destination, Plan};
use crate::plan::publisher::PublisherPlan;
use crate::receive::stamp::PublisherIndex;
use crate::replay::packets::{PacketWriter, Sender};
use crate::scenario::builtin;
use crate::time::clock::UtcMap;
use crate::time::units::SECOND_NS;

/// Why no capture was written.
#[derive(Debug, Error)]
pub enum CaptureError {
    /// The scenario is invalid.
    #[error(transparent)]
    Resolve(#[from] ResolveError),
    /// The scenario has no C37.118 frames.
    #[error("no publisher of this scenario sends C37.118 frames; give --payload c37118")]
    OtherPayload,
    /// The file cannot be written.
    #[error("--pcap {}: {cause}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The reason.
        cause: io::Error,
    },
}

impl CaptureError {
    /// The exit code for this error.
    pub fn exit(&self) -> Exit {
        Exit::Usage
    }
}

/// Writes the capture.
///
/// # Errors
/// When the scenario is invalid, has nothing to capture, or the file cannot be written.
pub fn run(args: &CaptureArgs) -> Result<Exit, CaptureError> {
    let name = args.run.scenario.as_deref().unwrap_or(builtin::DEFAULT);
    let scenario = overrides::resolve(name, &args.run.options)?;
    let target = ([127, 0, 0, 1], 1).into();
    let destination =
        Destination { target, host: String::new(), token: None, tls: None, run_id: 1 };
    let plan = Plan::build(&scenario, &Layout::default(), destination);
    let failed = |cause| CaptureError::File { path: args.pcap.clone(), cause };
    let frames = frames(&plan, args.from.0, args.seconds);
    if frames.is_empty() {
        return Err(CaptureError::OtherPayload);
    }
    let out = BufWriter::new(File::create(&args.pcap).map_err(failed)?);
    write(&frames, out).map_err(failed)?;
    say(format_args!("{} frames of {name} in {}", frames.len(), args.pcap.display()));
    Ok(Exit::Ok)
}

/// A frame and when it is sent, ns since the Unix epoch.
struct Sent {
    publisher: u16,
    at_unix_ns: u64,
    bytes: Vec<u8>,
}

/// The configuration of every stream, then its data, in the order of time.
fn frames(plan: &Plan, from_unix_s: u64, seconds: u64) -> Vec<Sent> {
    let start_unix_ns = from_unix_s * SECOND_NS;
    let publisher_index = PublisherIndex::new(plan, start_unix_ns, UtcMap::sample(), 1);
    let mut frames = Vec::new();
    for (index, publisher) in (0..).zip(&plan.publishers) {
        if publisher.payload != Payload::C37118 {
            continue;
        }
        frames.push(configuration(publisher, from_unix_s));
        let schedule = *publisher_index.schedule(index);
        let mut encoder = Encoder::new(plan.run_id, plan.seed, publisher, schedule);
        let departures = publisher_index.departures(index);
        let data = (0..departures.count()).map(|number| {
            let frame = departures.frame(number);
            let bytes = encoder.encode_departure(frame).to_vec();
            Sent { publisher: publisher.id, at_unix_ns: frame.due_unix_ns, bytes }
        });
        frames
            .extend(data.take_while(|sent| sent.at_unix_ns < start_unix_ns + seconds * SECOND_NS));
    }
    frames.sort_by_key(|sent| sent.at_unix_ns);
    frames
}

fn configuration(publisher: &PublisherPlan, soc: u64) -> Sent {
    let envelope = Envelope { id: publisher.id, soc: soc as u32, quality: 0, fracsec: 0 };
    let data_rate = c37118::data_rate(publisher.rate.per_second());
    let mut bytes = Vec::new();
    c37118::encode_config2(envelope, &[Station::simulated(publisher.id)], data_rate, &mut bytes);
    Sent { publisher: publisher.id, at_unix_ns: soc * SECOND_NS, bytes }
}

fn write(frames: &[Sent], out: impl Write) -> io::Result<()> {
    let mut writer = PacketWriter::new(out)?;
    for Sent { publisher, at_unix_ns, bytes } in frames {
        writer.write(Sender { id: *publisher, rank: 0 }, *at_unix_ns, bytes)?;
    }
    writer.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::c37118::Kind;
    use crate::fixtures;

    #[test]
    fn every_stream_is_configured_before_its_data() {
        let plan =
            fixtures::plan_of(vec![fixtures::publisher(1001, 50), fixtures::publisher(7, 10)]);
        let frames = frames(&plan, 1_767_225_600, 1);
        let of = |id: u16| frames.iter().filter(move |sent| sent.publisher == id);
        assert_eq!((of(1001).count(), of(7).count()), (51, 11));
        for id in [1001, 7] {
            let kinds: Vec<_> = of(id).map(|sent| c37118::check(&sent.bytes).unwrap().0).collect();
            assert_eq!(kinds[0], Kind::Config2);
            assert!(kinds[1..].iter().all(|kind| *kind == Kind::Data));
        }
        assert!(frames.is_sorted_by_key(|sent| sent.at_unix_ns));
        let mut out = Vec::new();
        write(&frames, &mut out).unwrap();
        let packets: usize = frames.iter().map(|sent| 16 + 28 + sent.bytes.len()).sum();
        assert_eq!(out.len(), 24 + packets);
    }
}
