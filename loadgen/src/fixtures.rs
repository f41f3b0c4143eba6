//! A small clean run for the tests of everything that judges or writes runs. Tests only.

use std::time::Duration;

use crate::codec::c37118;
use crate::codec::c37118::{Block, Envelope, Value};
use crate::codec::dialect::dialect::Dialect;
use crate::codec::payload::Payload;
use crate::judge::health;
use crate::judge::health::HealthLimits;
use crate::judge::verdict::Verdict;
use crate::observe::clocks::Clocks;
use crate::observe::efficiency::Efficiency;
use crate::observe::host::Environment;
use crate::observe::sampler::{CpuUsage, ProcessUsage, Sample, Samples};
use crate::plan::course::Course;
use crate::plan::deviation::Deviation;
use crate::plan::laps::Laps;
use crate::plan::layout::Layout;
use crate::plan::part::Part;
use crate::plan::plan::{Destination, Disturbance, Plan};
use crate::plan::publisher::PublisherPlan;
use crate::receive::histograms::SignedHistogram;
use crate::receive::outcome::class::ClassOutcome;
use crate::receive::outcome::spread::SpreadOutcome;
use crate::receive::outcome::window::Window;
use crate::receive::outcome::*;
use crate::result::record::Record;
use crate::scenario::groups::ClassKind;
use crate::scenario::scenario::Scenario;
use crate::time::rate::Rate;
use crate::time::units::SECOND_NS;

/// 20 publishers at 30/s and 2,000 dashboards, ten seconds.
pub fn scenario() -> Scenario {
    let mut scenario = Scenario::parse(crate::scenario::builtin::ALL[0].text).unwrap();
    scenario.phases.measure = Duration::from_secs(10);
    scenario
}

/// The plan of the scenario on one subscriber and one publisher thread.
pub fn plan() -> Plan {
    let layout = Layout { subscriber_threads: 1, publisher_threads: 1, ..Layout::default() };
    let destination = Destination {
        target: "127.0.0.1:9400".parse().unwrap(),
        host: "127.0.0.1:9400".into(),
        token: None,
        tls: None,
        run_id: 1,
    };
    Plan::build(&scenario(), &layout, destination)
}

/// Three laps of two seconds; the measured phase begins at second 100.
pub fn laps() -> Laps {
    let course = Course { laps: 3, profile: None };
    let plan = Plan { measure: Duration::from_secs(6), course, ..plan_of(vec![]) };
    Laps::of(&plan, 100 * SECOND_NS)
}

/// A C37.118 data frame with so many digital words.
pub fn data_frame(id: u16, soc: u32, fracsec: u32, digitals: usize) -> Vec<u8> {
    let block = Block {
        stat: 0,
        phasors: vec![],
        freq: Value::Int(3),
        dfreq: Value::Int(0),
        analogs: vec![],
        digitals: vec![0x5A5A; digitals],
    };
    let mut bytes = Vec::new();
    c37118::encode_data(Envelope { id, soc, quality: 0, fracsec }, &[block], &mut bytes);
    bytes
}

/// A publisher of C37.118 frames, exactly on the grid.
pub fn publisher(id: u16, fps: u32) -> PublisherPlan {
    PublisherPlan {
        id,
        topic: format!("pmu/{id}"),
        path: String::new(),
        rate: Rate { num: fps, den: 1 },
        offset_ns: 0,
        jitter_ns: 0,
        payload: Payload::C37118,
        deviation: Deviation::default(),
        recorded: None,
    }
}

/// A plan of these publishers and nobody else, measured for two seconds from the start.
pub fn plan_of(publishers: Vec<PublisherPlan>) -> Plan {
    Plan {
        run_id: 1,
        seed: 1,
        target: ([127, 0, 0, 1], 1).into(),
        subscriber_nodes: Vec::new(),
        host: String::new(),
        token: None,
        tls: None,
        dialect: Dialect::default(),
        warmup: Duration::ZERO,
        measure: Duration::from_secs(2),
        course: Course::default(),
        drain: Duration::ZERO,
        connect_rate: 1,
        publishers,
        publisher_threads: 1,
        subscribers: vec![],
        followed: [].into(),
        wall: "pmu/#".into(),
        subscriber_threads: 1,
        classes: vec![],
        spread_every: 1,
        cpus: None,
        kill: None,
        part: Part::default(),
        disturbance: Disturbance::default(),
    }
}

/// Hands `take` the record of a run with this outcome, judged by the default limits.
pub fn with_record<T>(outcome: &Outcome, take: impl FnOnce(&Record<'_>) -> T) -> T {
    let (scenario, plan, samples) = (scenario(), plan(), samples());
    let limits = HealthLimits::default();
    let gates = health::gates(&plan, outcome, &samples, &limits);
    take(&Record {
        command: "gridload run quickstart --seed 1",
        verdict: &Verdict::of(gates, &scenario.slo, outcome, 0),
        scenario: &scenario,
        plan: &plan,
        layout: &Layout::default(),
        environment: &Environment::read(),
        server_pid: Some(42),
        outcome,
        samples: &samples,
        efficiency: &Efficiency::of(&samples, 2_000),
        clocks: &Clocks::default(),
        limits: &limits,
    })
}

/// A histogram of `count` values from `from_ns` on, one microsecond apart.
pub fn histogram(count: i64, from_ns: i64) -> SignedHistogram {
    let mut histogram = SignedHistogram::new();
    (0..count).for_each(|step| histogram.record(from_ns + step * 1_000));
    histogram
}

/// Everything arrived, on time.
pub fn outcome() -> Outcome {
    let thread = |name: &str| ThreadHealth {
        wakeups: 1_000,
        budget_hits: 10,
        busy_max: 0.5,
        ..ThreadHealth::new(name.into())
    };
    Outcome {
        started_unix_ns: 1_767_225_600_000_000_000,
        measured: Duration::from_secs(10),
        ramp: RampOutcome {
            attempted: 2_000,
            connected: 2_000,
            elapsed: Duration::from_secs(1),
            ..RampOutcome::default()
        },
        publishers: PublisherOutcome {
            count: 20,
            intended: 6_000,
            sent: 6_000,
            slip: histogram(1_000, 10_000),
            ..PublisherOutcome::default()
        },
        classes: vec![class("dashboard", ClassKind::Healthy)],
        spread: SpreadOutcome {
            sampled: 600,
            first: histogram(600, 50_000),
            median: histogram(600, 100_000),
            last: histogram(600, 200_000),
        },
        threads: vec![thread("pub-0"), thread("sub-0")],
        windows: vec![Window {
            t_s: 0,
            sent: 600,
            received: 60_000,
            e2e_p50_ns: 100_000,
            e2e_p99_ns: 200_000,
            e2e_max_ns: 300_000,
            e2e_counts: [(62, 59_000), (66, 1_000)].into(),
            ..Window::default()
        }],
    }
}

/// A class that received all of its 600,000 frames.
pub fn class(name: &str, kind: ClassKind) -> ClassOutcome {
    ClassOutcome {
        sockets: 2_000,
        expected: 600_000,
        received: 600_000,
        bytes: 56_400_000,
        payload_bytes: 55_200_000,
        reads: 600_000,
        service: histogram(1_000, 100_000),
        e2e: histogram(1_000, 120_000),
        ..ClassOutcome::new(name.into(), kind)
    }
}

/// Ten seconds on two CPUs, 600,000 deliveries, a fifth of a CPU used by the server.
pub fn samples() -> Samples {
    let sample = |at_s: u64, received: u64, cpu_ms: u64, ticks: u64| {
        let usage = ProcessUsage {
            cpu_ns: cpu_ms * 1_000_000,
            rss_bytes: (10 << 20) + at_s * 1_000_000,
            threads: 2,
            ..ProcessUsage::default()
        };
        let cpu = CpuUsage { busy_ticks: ticks / 2, steal_ticks: 0, total_ticks: ticks };
        let mut sample = Sample { at_ns: at_s * 1_000_000_000, received, ..Sample::default() };
        (sample.server, sample.own) = (Some(usage), Some(usage));
        sample.host.cpus = vec![cpu, cpu];
        sample
    };
    let mut samples = Samples::new(sample(0, 0, 10, 0));
    samples.ramped = Some(sample(1, 0, 100, 100));
    samples.measure_start = Some(sample(4, 120_000, 500, 400));
    samples.measure_end = Some(sample(14, 720_000, 2_500, 1_400));
    samples.points = vec![sample(5, 180_000, 700, 500)];
    samples
}
