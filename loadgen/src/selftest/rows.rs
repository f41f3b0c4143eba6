//! The rows that need a run: the injected fault, the correct result, and the permitted difference.
//! Must not know how a trial is run.
//!
//! Latencies are relative to the floor, which is measured first. The permitted difference is the
//! floor's p99 plus the wake-up lateness of both sides in the same trial: the instrument adds no
//! more error than the host.

use std::hint;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use crate::observe::host;
use crate::observe::host::Environment;
use crate::plan::plan::Disturbance;
use crate::receive::histograms::SignedHistogram;
use crate::selftest::error::SelftestError;
use crate::selftest::fault::Fault;
use crate::selftest::floor::TimingFloor;
use crate::selftest::row::{Approx, Row, RowVerdict, approx, exact};
use crate::selftest::trial::{Bench, Trial, TrialResult};
use crate::time::clock::{UtcMap, mono_ns};
use crate::time::units::{SECOND_NS, format_ns};

/// The length of trials: full, or short for a test suite.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// Under three minutes.
    Full,
    /// Under a minute.
    Short,
}

/// The state that the rows share.
#[derive(Debug)]
pub struct Rows {
    /// The CPUs of the trials.
    pub bench: Bench,
    /// The length of the trials.
    pub extent: Extent,
    /// The floor, measured by the first row.
    pub floor: TimingFloor,
}

type RowResult = Result<Row, SelftestError>;

impl Rows {
    /// Row 1: measures the floor, and creates the state that the other rows need.
    ///
    /// # Errors
    /// When the trial cannot be run.
    pub fn begin(extent: Extent) -> Result<(Rows, Row), SelftestError> {
        let bench = Bench::new(extent.of(4, 2) as usize);
        let found = bench.run_undisturbed(Trial::of(&light(extent.of(6, 3)), Fault::None))?;
        let fingerprint = Environment::read().host_fingerprint;
        let taken_unix_s = UtcMap::sample().unix_of_mono(mono_ns()) / SECOND_NS;
        let healthy = found.healthy();
        let floor = TimingFloor::of(&healthy.e2e, &fingerprint, taken_unix_s);
        let complete = healthy.lost == 0 && healthy.received == healthy.expected;
        let shown = [floor.p50_ns, floor.p99_ns, floor.p999_ns, floor.max_ns];
        let [p50, p99, p999, max] = shown.map(|ns| format_ns(ns as f64));
        let row = Row {
            number: 1,
            what: "a server that does nothing: the floor".to_owned(),
            truth: format!("{} frames", healthy.expected),
            measured: format!(
                "{} frames; p50 {p50}, p99 {p99}, p99.9 {p999}, max {max}",
                healthy.received
            ),
            allowed: "none lost, p99 <= 5 ms".to_owned(),
            verdict: RowVerdict::of(complete && floor.p99_ns <= FLOOR_P99_MAX_NS),
        };
        Ok((Rows { bench, extent, floor }, row.unless_disturbed(found.is_undisturbed())))
    }

    /// Row 2: every frame is delayed by a fixed time.
    ///
    /// # Errors
    /// As for all rows: when a trial cannot be run.
    pub fn fixed_delays(&self) -> Result<Vec<Row>, SelftestError> {
        let delays: &[u64] = if self.extent == Extent::Full { &[1, 5, 20] } else { &[5] };
        delays.iter().map(|ms| self.fixed_delay(Duration::from_millis(*ms))).collect()
    }

    fn fixed_delay(&self, delay: Duration) -> RowResult {
        let load = light(self.extent.of(4, 3));
        let found = self.bench.run_undisturbed(Trial::of(&load, Fault::Delay(delay)))?;
        let e2e = found.healthy().e2e;
        let what = format!("every frame delayed by {} ms", delay.as_millis());
        let at = |quantile: f64, floor_ns: i64| {
            let truth_ns = floor_ns as f64 + delay.as_nanos() as f64;
            self.approx(&found, truth_ns, e2e.quantile(quantile))
        };
        let values = [("p50", at(0.5, self.floor.p50_ns)), ("p99", at(0.99, self.floor.p99_ns))];
        Ok(approx(2, &what, &values).unless_disturbed(found.is_undisturbed()))
    }

    /// One thousandth, which is the histograms' precision, plus what the host adds in any run and
    /// in this one.
    fn approx(&self, found: &TrialResult, truth_ns: f64, measured_ns: i64) -> Approx {
        let host_ns = self.floor.p99_ns + found.jitter_ns();
        let off_max_ns = truth_ns.abs() / 1000.0 + host_ns as f64;
        Approx { truth_ns, measured_ns: measured_ns as f64, off_max_ns }
    }

    /// Row 3: 99 % of the frames are delayed by 1 ms, 1 % by 50 ms.
    ///
    /// # Errors
    /// When the trial cannot be run.
    pub fn mixture(&self) -> RowResult {
        let [short, long] = [1, 50].map(Duration::from_millis);
        let fault = Fault::Mixture { short, long, every: 100 };
        let load =
            load(&LoadShape { publishers: 20, fps: 10, seconds: self.extent.of(10, 5), ..LIGHT });
        let found = self.bench.run_undisturbed(Trial::of(&load, fault))?;
        let e2e = found.healthy().e2e;
        let at = |quantile: f64, delay: Duration| {
            let truth_ns = self.floor.p50_ns as f64 + delay.as_nanos() as f64;
            self.approx(&found, truth_ns, e2e.quantile(quantile))
        };
        let values =
            [("p50", at(0.5, short)), ("p98", at(0.98, short)), ("p99.5", at(0.995, long))];
        Ok(approx(3, "99 % delayed by 1 ms, 1 % by 50 ms", &values)
            .unless_disturbed(found.is_undisturbed()))
    }

    /// Row 4: the server stalls for a second. The publisher keeps its schedule, so service and
    /// end-to-end latency agree: each frame of that second waits until the stall ends.
    ///
    /// # Errors
    /// When the trial cannot be run.
    pub fn server_stop(&self) -> RowResult {
        let rate = LIGHT.publishers * LIGHT.fps;
        let fault = Fault::Stop { at: rate * 2, length: Duration::from_secs(1) };
        let found = self.bench.run_undisturbed(Trial::of(&light(self.extent.of(5, 4)), fault))?;
        let healthy = found.healthy();
        let stopped_ns = found.tally.stopped_ns as f64;
        let truth_ns = area_of_stop(rate, stopped_ns) * healthy.sockets as f64;
        let value = |measured: &SignedHistogram| Approx {
            truth_ns,
            measured_ns: area(measured),
            off_max_ns: truth_ns * AREA_OFF_MAX,
        };
        let values = [("e2e area", value(&healthy.e2e)), ("service", value(&healthy.service))];
        Ok(approx(4, "the server stalls for a second", &values)
            .unless_disturbed(found.is_undisturbed()))
    }

    /// Row 5: the publisher stalls for a second. End-to-end latency shows it, because it counts
    /// from the intended instant; service latency does not.
    ///
    /// # Errors
    /// When the trial cannot be run.
    pub fn publisher_stop(&self) -> RowResult {
        let length = Duration::from_secs(1);
        let disturbance =
            Disturbance { publisher_stop: Some((length, length)), ..Disturbance::default() };
        let load = light(self.extent.of(5, 4));
        let found = self.bench.run_once(Trial { disturbance, ..Trial::of(&load, Fault::None) })?;
        let healthy = found.healthy();
        let slip = &found.outcome.publishers.slip;
        let rate = LIGHT.publishers * LIGHT.fps;
        let truth_ns = area_of_stop(rate, length.as_nanos() as f64) * healthy.sockets as f64;
        let off_max_ns = truth_ns * AREA_OFF_MAX;
        let second_ns = SECOND_NS as f64;
        let values = [
            ("e2e area", Approx { truth_ns, measured_ns: area(&healthy.e2e), off_max_ns }),
            ("service", Approx { truth_ns: 0.0, measured_ns: area(&healthy.service), off_max_ns }),
            (
                "slip max",
                Approx {
                    truth_ns: second_ns,
                    measured_ns: slip.max() as f64,
                    off_max_ns: second_ns * AREA_OFF_MAX,
                },
            ),
        ];
        let row = approx(5, "the publisher stalls for a second", &values);
        let is_flagged = found.gates.iter().any(|gate| gate.name.starts_with("slip") && !gate.pass);
        Ok(row.and(is_flagged))
    }

    /// Row 6: the receivers' clock is wrong. No value is dropped: latencies below zero are counted
    /// and make the run invalid.
    ///
    /// # Errors
    /// When a trial cannot be run.
    pub fn clock_shifts(&self) -> Result<Vec<Row>, SelftestError> {
        [-5_000_000, 5_000_000].into_iter().map(|shift_ns| self.clock_shift(shift_ns)).collect()
    }

    fn clock_shift(&self, shift_ns: i64) -> RowResult {
        let disturbance = Disturbance { receiver_shift_ns: shift_ns, ..Disturbance::default() };
        let load = light(self.extent.of(3, 2));
        let found = self.bench.run_once(Trial { disturbance, ..Trial::of(&load, Fault::None) })?;
        let e2e = found.healthy().e2e;
        let is_flagged = found.gates.iter().any(|g| g.name == "negative latencies" && !g.pass);
        let what = format!("the receivers' clock is {:+} ms off", shift_ns / 1_000_000);
        if shift_ns > 0 {
            let truth_ns = (self.floor.p50_ns + shift_ns) as f64;
            return Ok(approx(
                6,
                &what,
                &[("p50", self.approx(&found, truth_ns, e2e.quantile(0.5)))],
            ));
        }
        // A frame that the host delayed by more than the shift is not below zero.
        let late = e2e.len() - e2e.negatives();
        let row = Row {
            number: 6,
            what,
            truth: format!("{} samples below zero, run invalid", e2e.len()),
            measured: format!(
                "{}, run {}",
                e2e.negatives(),
                if is_flagged { "invalid" } else { "called valid" }
            ),
            allowed: "1 % (delayed by the host)".to_owned(),
            verdict: RowVerdict::of(is_flagged && late * 100 <= e2e.len() && !e2e.is_empty()),
        };
        Ok(row.unless_disturbed(found.is_undisturbed_except(&["negative latencies"])))
    }

    /// Row 7: lost, duplicated and swapped frames must be detected at every subscriber.
    ///
    /// # Errors
    /// When the trial cannot be run.
    pub fn mangled(&self) -> RowResult {
        let seconds = self.extent.of(8, 3);
        let load = load(&LoadShape { publishers: 1, fps: 1000, seconds, ..LIGHT });
        let found = self.bench.run_once(Trial::of(&load, Fault::Mangle { every: 1000 }))?;
        let (healthy, tally) = (found.healthy(), found.tally);
        let counts = [
            ("lost", tally.dropped * healthy.sockets, healthy.lost),
            ("twice", tally.repeated * healthy.sockets, healthy.duplicated),
            ("out of order", tally.swapped * healthy.sockets, healthy.reordered),
            ("damaged", 0, healthy.corrupt + healthy.misdelivered),
        ];
        let what = "of 1000 frames one lost, one duplicated, one reordered";
        let row = exact(7, what, &counts);
        Ok(row.and(tally.dropped > 0))
    }

    /// Row 8: one subscriber stops reading, the others continue.
    ///
    /// # Errors
    /// When a trial cannot be run.
    pub fn stopped_reader(&self) -> RowResult {
        let shape = LoadShape { payload: "bytes:4096", seconds: self.extent.of(5, 3), ..LIGHT };
        let healthy_run = self.bench.run_undisturbed(Trial::of(&load(&shape), Fault::None))?;
        let stalled_run = load(&LoadShape { stalled: 1, ..shape });
        let stalled_run = self.bench.run_undisturbed(Trial::of(&stalled_run, Fault::None))?;
        let p99 = |found: &TrialResult| found.healthy().e2e.quantile(0.99);
        let worse = if healthy_run.jitter_ns() > stalled_run.jitter_ns() {
            &healthy_run
        } else {
            &stalled_run
        };
        let value = self.approx(worse, p99(&healthy_run) as f64, p99(&stalled_run));
        let row = approx(8, "one reader stops reading: p99 of the others", &[("p99", value)]);
        let healthy = stalled_run.healthy();
        let row =
            row.unless_disturbed(healthy_run.is_undisturbed() && stalled_run.is_undisturbed());
        Ok(row.and(healthy.received == healthy.expected))
    }

    /// Row 9: another process uses the generator's CPUs.
    ///
    /// # Errors
    /// When the trial cannot be run.
    pub fn saturated(&self) -> RowResult {
        let found = {
            let _busy = BusyThreads::start(self.bench.generator_cpus());
            self.bench.run_once(Trial::of(&light(self.extent.of(4, 3)), Fault::None))?
        };
        let breaches = found.breaches();
        Ok(Row {
            number: 9,
            what: "another process keeps the CPUs of the generator busy".to_owned(),
            truth: "run invalid, exit 5".to_owned(),
            measured: match breaches.as_slice() {
                [] => "run called valid".to_owned(),
                [first, ..] => format!("run invalid ({first})"),
            },
            allowed: "exact".to_owned(),
            verdict: RowVerdict::of(found.is_invalid()),
        })
    }

    /// Row 12: the server is slow, so that frames of the last second are on their way when the
    /// drain ends: undelivered, not lost, and the percentiles are lower bounds.
    ///
    /// # Errors
    /// When the trial cannot be run.
    pub fn slow_server(&self) -> RowResult {
        let load = load(&LoadShape { seconds: 3, drain: "500ms", ..LIGHT });
        let delay = Duration::from_millis(1_500);
        let found = self.bench.run_once(Trial::of(&load, Fault::Delay(delay)))?;
        let healthy = found.healthy();
        let truth = LIGHT.publishers * LIGHT.fps * healthy.sockets;
        let is_near = healthy.undelivered.abs_diff(truth) as f64 <= truth as f64 * TAIL_OFF_MAX;
        let is_least = healthy.latencies().quantile(0.99).is_least;
        let missed = found.missed_goals();
        let row = Row {
            number: 12,
            what: "a server that delivers 1.5 s late, with half a second to drain".to_owned(),
            truth: format!("{truth} undelivered, 0 lost, p99 a lower bound"),
            measured: format!(
                "{} undelivered, {} lost, p99 {}; goals missed: {}",
                healthy.undelivered,
                healthy.lost,
                if is_least { "a lower bound" } else { "exact" },
                missed.join(", ")
            ),
            allowed: "5 % of the undelivered".to_owned(),
            verdict: RowVerdict::of(
                is_near && is_least && healthy.lost == 0 && missed == ["undelivered"],
            ),
        };
        Ok(row.unless_disturbed(found.is_undisturbed()))
    }

    /// Row 13: every subscriber follows one topic and gets them all.
    ///
    /// # Errors
    /// When the trial cannot be run.
    pub fn misdelivering_server(&self) -> RowResult {
        let seconds = self.extent.of(3, 2);
        let shape = LoadShape { publishers: 2, topics_each: "1", seconds, ..LIGHT };
        let found = self.bench.run_once(Trial::of(&load(&shape), Fault::None))?;
        let healthy = found.healthy();
        let truth = (found.tally.received * healthy.sockets).saturating_sub(healthy.expected);
        let missed = found.missed_goals();
        // A socket that has all of its own frames may be closed before the last of the others.
        let least = truth.saturating_sub(healthy.sockets);
        let is_near = (least..=truth).contains(&healthy.misdelivered) && truth > 0;
        Ok(Row {
            number: 13,
            what: "a server that delivers every topic to everybody".to_owned(),
            truth: format!("{truth} misdelivered, 0 lost"),
            measured: format!(
                "{} misdelivered, {} lost; goals missed: {}",
                healthy.misdelivered,
                healthy.lost,
                missed.join(", ")
            ),
            allowed: "the last frame of a socket".to_owned(),
            verdict: RowVerdict::of(is_near && healthy.lost == 0 && missed == ["misdelivered"]),
        })
    }

    /// Row 14: the server accepts everything and delivers nothing.
    ///
    /// # Errors
    /// When the trial cannot be run.
    pub fn silent_server(&self) -> RowResult {
        let load = load(&LoadShape { seconds: 2, drain: "500ms", ..LIGHT });
        let found = self.bench.run_once(Trial::of(&load, Fault::Silence))?;
        let (healthy, sockets) = (found.healthy(), found.healthy().sockets);
        let counts = [
            ("received", 0, healthy.received),
            ("lost", 0, healthy.lost),
            ("undelivered", found.tally.dropped * sockets, healthy.undelivered),
            ("unserved", LIGHT.publishers * sockets, healthy.unserved),
        ];
        let row = exact(14, "a server that accepts everything and delivers nothing", &counts);
        Ok(row.and(found.missed_goals() == ["undelivered", "unserved"] && sockets > 0))
    }
}

impl Extent {
    fn of(self, full_s: u64, short_s: u64) -> u64 {
        match self {
            Extent::Full => full_s,
            Extent::Short => short_s,
        }
    }
}

/// A load for the null server.
#[derive(Debug, Clone, Copy)]
struct LoadShape {
    publishers: u64,
    fps: u64,
    subscribers: u64,
    stalled: u64,
    payload: &'static str,
    /// What each subscriber follows; the null server sends everything to everybody.
    topics_each: &'static str,
    seconds: u64,
    drain: &'static str,
}

/// A load so small that it hardly uses two CPUs.
const LIGHT: LoadShape = LoadShape {
    publishers: 5,
    fps: 20,
    subscribers: 10,
    stalled: 0,
    payload: "c37118",
    topics_each: "'all'",
    seconds: 5,
    drain: "3s",
};

fn light(seconds: u64) -> String {
    load(&LoadShape { seconds, ..LIGHT })
}

fn load(shape: &LoadShape) -> String {
    let LoadShape { publishers, fps, subscribers, stalled, payload, topics_each, .. } = shape;
    let LoadShape { seconds, drain, .. } = shape;
    let mut text = format!(
        r#"
        name = "selftest"
        publishers = [{{ name = "p", count = {publishers}, fps = {fps}, phase = "staggered",
                         payload = "{payload}" }}]
        phases = {{ warmup = "1s", measure = "{seconds}s", drain = "{drain}" }}
        [[subscribers]]
        name = "reader"
        count = {subscribers}
        topics_each = {topics_each}
        "#
    );
    if *stalled > 0 {
        text += &format!(
            r#"
        [[subscribers]]
        name = "stalled"
        count = {stalled}
        topics_each = "all"
        class = "stalled"
        "#
        );
    }
    text
}

/// The total waiting time of all frames of a stall at one subscriber, ns. At this frame rate the
/// first frame waits for the whole stall and the last for none of it.
fn area_of_stop(frames_per_s: u64, length_ns: f64) -> f64 {
    let length_s = length_ns / SECOND_NS as f64;
    frames_per_s as f64 * length_s * length_ns / 2.0
}

/// The sum of all latencies that are too long for anything but a stall, ns.
fn area(latencies: &SignedHistogram) -> f64 {
    let long = latencies.values().iter_recorded().filter(|v| v.value_iterated_to() > STOP_MIN_NS);
    long.map(|v| v.value_iterated_to() as f64 * v.count_since_last_iteration() as f64).sum()
}

/// Threads that keep CPUs busy until they are dropped.
struct BusyThreads {
    is_over: Arc<AtomicBool>,
}

impl BusyThreads {
    fn start(cpus: &[usize]) -> BusyThreads {
        let is_over = Arc::new(AtomicBool::new(false));
        for cpu in cpus.iter().copied() {
            for _ in 0..BUSY_THREADS_PER_CPU {
                let is_over = Arc::clone(&is_over);
                thread::spawn(move || {
                    if let Err(error) = host::pin(&[cpu]) {
                        tracing::warn!(%error, "a busy thread is not where it should be");
                    }
                    while !is_over.load(Ordering::Relaxed) {
                        hint::spin_loop();
                    }
                });
            }
        }
        BusyThreads { is_over }
    }
}

impl Drop for BusyThreads {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
    }
}

const BUSY_THREADS_PER_CPU: usize = 2;
/// The largest plausible p99 of a floor; a host that exceeds it is not fit for measuring.
const FLOOR_P99_MAX_NS: i64 = 5_000_000;
/// Shorter waits than this are caused by the host.
const STOP_MIN_NS: u64 = 30_000_000;
/// The permitted difference as a share of the undelivered frames, because the end of the drain is
/// an instant of the host.
const TAIL_OFF_MAX: f64 = 0.05;
/// The permitted difference as a share of the stall's total waiting time, because a stall begins
/// and ends between two frames.
const AREA_OFF_MAX: f64 = 0.05;
