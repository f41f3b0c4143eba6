//! `gridload replay`: turns a recording into a scenario whose publishers replay it, and runs it.
//! Must not read packets or publish anything itself.

use std::fs::File;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;

use crate::cli::flags::replay::ReplayArgs;
use crate::cli::options::RunOptions;
use crate::cli::overrides::ResolveError;
use crate::cli::session::SessionError;
use crate::cli::{overrides, session};
use crate::codec::payload::Payload;
use crate::codec::track::Track;
use crate::judge::exit::Exit;
use crate::os::output::note;
use crate::replay::recording::{Recording, RecordingError};
use crate::scenario::limits::{MEASURE_MIN, check_phase};
use crate::scenario::publishers::{Phase, PublisherGroup};
use crate::scenario::scenario::Scenario;
use crate::time::units::{SECOND_NS, format_duration, format_exact};

/// Why nothing was replayed.
#[derive(Debug, Error)]
pub enum ReplayError {
    /// The file cannot be opened.
    #[error("{path}: {cause}")]
    File {
        /// Its path.
        path: String,
        /// Why.
        cause: io::Error,
    },
    /// The recording cannot be replayed.
    #[error("{path}: {cause}")]
    Recording {
        /// Its path.
        path: String,
        /// Why.
        cause: RecordingError,
    },
    /// A flag that has no effect on a replay.
    #[error("{0}: a recording has its own streams, frames and rates; see --speed and --duration")]
    Decided(String),
    /// A phase is longer than the recording.
    #[error("{flag}: the recording lasts only {} at this speed", format_duration(*length))]
    TooShort {
        /// The phase.
        flag: &'static str,
        /// The length of the recording.
        length: Duration,
    },
    /// The recording is too long.
    #[error("the recording takes {length} at this speed; give --duration, or a higher --speed")]
    TooLong {
        /// Its length.
        length: String,
    },
    /// The subscribers are invalid.
    #[error(transparent)]
    Resolve(#[from] ResolveError),
    /// The run failed.
    #[error(transparent)]
    Session(#[from] SessionError),
}

impl ReplayError {
    /// The exit code for this error.
    pub fn exit(&self) -> Exit {
        match self {
            ReplayError::Session(error) => error.exit(),
            _ => Exit::Usage,
        }
    }
}

/// Replays a recording and returns the verdict; `command` is the command line that repeats it.
///
/// # Errors
/// When there is no verdict.
pub fn run(args: &ReplayArgs, command: &str) -> Result<Exit, ReplayError> {
    check_options(&args.options)?;
    let path = || args.file.display().to_string();
    let file = File::open(&args.file).map_err(|cause| ReplayError::File { path: path(), cause })?;
    let mut recording =
        Recording::read(file).map_err(|cause| ReplayError::Recording { path: path(), cause })?;
    note(format_args!("{}: {}", path(), summary(&recording)));
    if args.restamp {
        recording.restamp(args.speed);
    }
    let scenario = scenario(args, recording.played(args.speed))?;
    Ok(session::run_scenario(scenario, &args.options, command)?)
}

/// Prints what a recording holds, and what was left out of the file.
fn summary(recording: &Recording) -> String {
    let (first_ns, last_ns) = recording.span_ns();
    let length_s = (last_ns - first_ns) as f64 / SECOND_NS as f64;
    let streams = recording.streams();
    let configured = streams.iter().filter(|stream| stream.configuration.is_some()).count();
    let mut text = format!(
        "{} data frames of {} streams in {length_s:.3} s; {configured} streams have a \
         configuration frame\nleft out: {}",
        format_exact(recording.frames()),
        format_exact(streams.len() as u64),
        recording.skipped(),
    );
    if recording.namesakes() > 0 {
        let count = recording.namesakes();
        text.push_str(&format!("\n{count} streams get another IDCODE: two sources have theirs"));
    }
    if let Some(flaw) = recording.flaw() {
        text.push_str(&format!("\n{flaw}: what was there is replayed"));
    }
    text
}

/// Refuses flags that would change the publishers.
fn check_options(options: &RunOptions) -> Result<(), ReplayError> {
    let given = [
        ("--publishers", options.publishers.is_some()),
        ("--rate", options.rate.is_some()),
        ("--phase", options.phase.is_some()),
        ("--payload", options.payload.is_some()),
        ("--overlay", !options.overlay.is_empty()),
        ("--repeat", options.repeat.is_some()),
        ("--agents", !options.agents.is_empty()),
    ];
    let set =
        options.set.iter().find(|set| set.path.first().is_some_and(|key| key == "publishers"));
    let named = given.into_iter().find(|(_, is_given)| *is_given).map(|(flag, _)| flag.to_owned());
    let set = set.map(|set| format!("--set {}", set.path.join(".")));
    named.or(set).map_or(Ok(()), |flag| Err(ReplayError::Decided(flag)))
}

/// One publisher group per track, and the subscribers that the flags ask for.
fn scenario(args: &ReplayArgs, tracks: Vec<Track>) -> Result<Scenario, ReplayError> {
    let measure = measured(&args.options, length(&tracks))?;
    let about = format!(
        "{} recorded streams of {} at {} times their speed{}",
        tracks.len(),
        args.file.display(),
        args.speed,
        if args.restamp { ", with time stamps of now" } else { "" }
    );
    let slip_percent = (SLIP_PERCENT * args.speed).min(100.0);
    let text = TEMPLATE.replace("{measure}", &format_duration(measure));
    let scenario = overrides::resolve_text("replay", &text, &args.options, |scenario| {
        scenario.about = about;
        scenario.slip_percent = Some(scenario.slip_percent.unwrap_or(slip_percent));
        let group = |track| group(track, &args.topic);
        scenario.publishers = tracks.into_iter().map(group).collect();
    })?;
    Ok(scenario)
}

fn group(track: Track, topic_prefix: &str) -> PublisherGroup {
    PublisherGroup {
        name: track.id().to_string(),
        count: 1,
        rate: track.rate(),
        phase: Phase::Aligned,
        payload: Payload::Recorded { bytes: u32::from(track.frame_bytes_max()) },
        topic_prefix: topic_prefix.to_owned(),
        burst: None,
        recorded: Some(Arc::new(track)),
    }
}

/// The length of the tracks: until after the last frame, in whole milliseconds.
fn length(tracks: &[Track]) -> Duration {
    let last_ns = tracks.iter().map(|track| track.span_ns().1).max().unwrap_or(0);
    Duration::from_millis(last_ns / 1_000_000 + 1)
}

/// The default measured phase: everything after the warm-up.
fn measured(options: &RunOptions, length: Duration) -> Result<Duration, ReplayError> {
    let warmup = options.warmup.unwrap_or_default();
    if warmup >= length {
        return Err(ReplayError::TooShort { flag: "--warmup", length });
    }
    let rest = (length - warmup).max(MEASURE_MIN);
    match options.duration {
        Some(duration) if duration > rest => {
            Err(ReplayError::TooShort { flag: "--duration", length })
        }
        Some(duration) => Ok(duration),
        None => check_phase(rest, MEASURE_MIN).map_err(|_| ReplayError::TooLong {
            length: format_duration(Duration::from_secs(rest.as_secs())),
        }),
    }
}

/// The recorded publishers replace the one that a scenario must have.
const TEMPLATE: &str = r#"
name = "replay"
publishers = [{ name = "recorded", count = 1, fps = 1 }]
subscribers = [{ name = "dashboard", count = 100 },
               { name = "wall", count = 1, topics_each = "all" }]
phases = { warmup = "0s", measure = "{measure}", drain = "5s" }
"#;

/// The limit of publish lateness at p99.9 at the recorded speed, in percent of a period.
const SLIP_PERCENT: f64 = 5.0;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::c37118::Envelope;
    use crate::codec::claim::Reject;
    use crate::codec::memo::Memo;
    use crate::codec::restamped::Shift;
    use crate::fixtures::data_frame;
    use crate::plan::encoder::Encoder;
    use crate::plan::follows::Follows;
    use crate::plan::layout::Layout;
    use crate::plan::plan::{Destination, Plan};
    use crate::receive::stamp::PublisherIndex;
    use crate::time::clock::UtcMap;
    use crate::time::rate::Rate;

    /// After the boot of any host: earlier instants do not exist on its monotonic clock.
    const START_NS: u64 = 4_102_444_800 * SECOND_NS;

    /// Two streams with this many frames per second, half a period apart.
    fn tracks(frames: u32, speed: f64) -> Vec<Track> {
        let period_ns = SECOND_NS / u64::from(frames);
        let track = |(id, late_ns): (u16, u64)| {
            let mut track = Track::new(id);
            for n in 0..frames {
                let envelope = Envelope { id, soc: 9, quality: 0, fracsec: n };
                let at_ns = 1_000 + u64::from(n) * period_ns + late_ns;
                track.push(at_ns, envelope, &data_frame(id, 9, n, 1));
            }
            track.settle();
            track.played(1_000, speed)
        };
        [(7, 0), (9, period_ns / 2)].into_iter().map(track).collect()
    }

    fn args(change: impl FnOnce(&mut ReplayArgs)) -> ReplayArgs {
        let options = RunOptions::default();
        let (file, topic) = ("a.pcap".into(), "grid/a".into());
        let mut args = ReplayArgs { file, speed: 10.0, restamp: false, topic, options };
        change(&mut args);
        args
    }

    fn refused(change: impl FnOnce(&mut ReplayArgs)) -> String {
        let args = args(change);
        let made = check_options(&args.options).and_then(|()| scenario(&args, tracks(50, 10.0)));
        made.unwrap_err().to_string()
    }

    fn plan(args: &ReplayArgs, tracks: Vec<Track>) -> Plan {
        let target = ([127, 0, 0, 1], 1).into();
        let host = String::new();
        let destination = Destination { target, host, token: None, tls: None, run_id: 1 };
        Plan::build(&scenario(args, tracks).unwrap(), &Layout::default(), destination)
    }

    #[test]
    fn every_stream_is_a_publisher_with_its_own_instants() {
        let plan = plan(&args(|_| ()), tracks(50, 10.0));
        let topics: Vec<_> = plan.publishers.iter().map(|p| (p.id, p.topic.as_str())).collect();
        assert_eq!(topics, [(7, "grid/a/7"), (9, "grid/a/9")]);
        assert_eq!(plan.publishers[0].rate, Rate { num: 500, den: 1 });
        let wall = plan.subscribers.iter().find(|s| s.follows == Follows::All).unwrap();
        assert_eq!((wall.path.as_str(), plan.subscribers.len()), ("/v1/feed/grid/a/%23", 101));
        let publisher_index = PublisherIndex::new(&plan, START_NS, UtcMap::sample(), 1);
        let after = |publisher, seq| {
            publisher_index.intended_ns(publisher, seq) - publisher_index.start_ns()
        };
        assert_eq!([after(0, 0), after(1, 0), after(0, 49)], [0, 1_000_000, 98_000_000]);
        assert_eq!(
            (publisher_index.schedule(0).ticks, publisher_index.schedule(0).measured_from),
            (50, 0)
        );
    }

    #[test]
    fn frames_are_known_by_what_they_claim_once_they_are_sent() {
        let plan = plan(&args(|_| ()), tracks(50, 10.0));
        let publisher_index = PublisherIndex::new(&plan, START_NS, UtcMap::sample(), 1);
        let mut encoder =
            Encoder::new(plan.run_id, plan.seed, &plan.publishers[1], *publisher_index.schedule(1));
        let frame = encoder.encode(30).to_vec();
        assert_eq!(frame, data_frame(9, 9, 30, 1));
        let mut memo = Memo::new(2);
        assert_eq!(
            memo.stamp(&frame, Some(&publisher_index)),
            Err(Reject::Foreign),
            "not sent yet"
        );
        publisher_index.log(1).attempt(30, 5);
        let stamp = memo.stamp(&frame, Some(&publisher_index)).unwrap();
        assert_eq!((stamp.publisher, stamp.seq, stamp.sent_ns), (1, 30, Some(5)));
        assert_eq!(stamp.intended_ns, publisher_index.intended_ns(1, 30));
        let other = data_frame(9, 8, 30, 1);
        assert_eq!(memo.stamp(&other, Some(&publisher_index)), Err(Reject::Foreign));
    }

    #[test]
    fn frames_of_now_are_known_by_the_instants_at_which_they_are_due() {
        let mut tracks = tracks(50, 1.0);
        let zero_ns = 9 * SECOND_NS - 70_000_000;
        let shift = Shift { time_base: 1_000, zero_ns, speed: 1.0 };
        tracks.iter_mut().for_each(|track| track.restamp(shift));
        let plan = plan(&args(|args| args.restamp = true), tracks);
        let publisher_index = PublisherIndex::new(&plan, START_NS, UtcMap::sample(), 1);
        let mut encoder =
            Encoder::new(plan.run_id, plan.seed, &plan.publishers[1], *publisher_index.schedule(1));
        let frame = encoder.encode(30).to_vec();
        assert_eq!(frame, data_frame(9, (START_NS / SECOND_NS) as u32, 100, 1));
        publisher_index.log(1).attempt(30, 5);
        let stamp = Memo::new(2).stamp(&frame, Some(&publisher_index)).unwrap();
        assert_eq!((stamp.publisher, stamp.seq, stamp.sent_ns), (1, 30, Some(5)));
        let recorded = data_frame(9, 9, 30, 1);
        assert_eq!(Memo::new(2).stamp(&recorded, Some(&publisher_index)), Err(Reject::Foreign));
    }

    #[test]
    fn phases_cut_a_recording() {
        let options = |options: &mut RunOptions| {
            options.warmup = Some(Duration::from_millis(500));
            options.duration = Some(Duration::from_secs(1));
        };
        let plan = plan(&args(|args| options(&mut args.options)), tracks(50, 1.0));
        let schedule = *PublisherIndex::new(&plan, START_NS, UtcMap::sample(), 1).schedule(0);
        assert_eq!((schedule.measured_from, schedule.ticks), (25, 50));
    }

    #[test]
    fn what_a_recording_decides_is_refused() {
        assert!(refused(|args| args.options.publishers = Some(3)).starts_with("--publishers: "));
        assert!(
            refused(|args| args.options.rate = Some(Rate { num: 1, den: 1 })).starts_with("--rate")
        );
        let set = |args: &mut ReplayArgs| {
            args.options.set = vec!["publishers.0.count=2".parse().unwrap()]
        };
        assert!(refused(set).starts_with("--set publishers.0.count: a recording has its own"));
        let warmup = |args: &mut ReplayArgs| args.options.warmup = Some(Duration::from_secs(1));
        assert!(refused(warmup).starts_with("--warmup: the recording lasts only 100ms"));
        let duration = |args: &mut ReplayArgs| args.options.duration = Some(Duration::from_secs(2));
        assert!(refused(duration).starts_with("--duration: the recording lasts only"));
    }

    #[test]
    fn a_recording_of_years_needs_a_limit() {
        let mut track = Track::new(7);
        for (n, at_ns) in [(0, 0), (1, u64::MAX)] {
            let envelope = Envelope { id: 7, soc: 9, quality: 0, fracsec: n };
            track.push(at_ns, envelope, &data_frame(7, 9, n, 1));
        }
        track.settle();
        let tracks = vec![track.played(0, 1.0)];
        let error = scenario(&args(|_| ()), tracks.clone()).unwrap_err().to_string();
        assert!(error.contains("years") && error.contains("give --duration"), "{error}");
        let limited = args(|args| args.options.duration = Some(Duration::from_secs(1)));
        assert_eq!(scenario(&limited, tracks).unwrap().phases.measure.as_secs(), 1);
    }
}
