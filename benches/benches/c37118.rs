//! What a frame costs the load generator: making it, checking it, and accounting for it at a
//! socket. Must not measure the engine: these tell how much of a host the measuring itself takes.
#![allow(clippy::unwrap_used)] // a set-up that fails ends the benchmark

mod suite;

use std::hint::black_box;
use std::time::Duration;

use criterion::{BatchSize, Criterion, Throughput};
use gridload::codec::payload::Payload;
use gridload::codec::{c37118, payload};
use gridload::plan::encoder::Encoder;
use gridload::plan::follows::Follows;
use gridload::plan::layout::Layout;
use gridload::plan::plan::{Destination, Plan};
use gridload::receive::reception::{Arrival, Reception};
use gridload::receive::stamp::PublisherIndex;
use gridload::scenario::builtin;
use gridload::scenario::scenario::Scenario;
use gridload::time::clock::{UtcMap, mono_ns};
use gridload::time::units::SECOND_NS;

/// How long after its due instant each frame is said to arrive.
const LATENCY_NS: u64 = 200_000;

fn main() {
    suite::run(|criterion| {
        encode(criterion);
        identify(criterion);
        receive(criterion, "alone", 1, 100);
        receive(criterion, "in a batch of 100 sockets", 100, 5);
    });
}

fn encode(criterion: &mut Criterion) {
    for payload in [Payload::C37118, Payload::Json] {
        let run = Run::new(payload);
        let (mut encoder, ticks) = (run.encoder(0), run.publisher_index.schedule(0).ticks);
        let mut seq = 0;
        criterion.bench_function(&format!("c37118/encode/{payload}"), |bencher| {
            bencher.iter(|| {
                seq = (seq + 1) % ticks;
                black_box(encoder.encode(seq));
            });
        });
    }
}

fn identify(criterion: &mut Criterion) {
    let frame = Run::new(Payload::C37118).encoder(0).encode(0).to_vec();
    criterion.bench_function("c37118/check", |bencher| {
        bencher.iter(|| c37118::check(black_box(&frame)).unwrap());
    });
    criterion.bench_function("c37118/identify", |bencher| {
        bencher.iter(|| payload::identify(black_box(&frame)).unwrap());
    });
}

/// Frames of every publisher for some ticks, each received and verified at every socket before the
/// next comes. Time is per run, the rate per frame received.
fn receive(criterion: &mut Criterion, name: &str, sockets: u32, ticks: u32) {
    let run = Run::new(Payload::C37118);
    let arrivals = run.arrivals(ticks);
    let received = arrivals.len() as u64 * u64::from(sockets);
    let mut group = criterion.benchmark_group("c37118/receive and verify");
    group.throughput(Throughput::Elements(received));
    group.bench_function(name, |bencher| {
        bencher.iter_batched_ref(
            || run.reception(sockets),
            |reception| {
                for Sent { frame, at_ns } in &arrivals {
                    for account in 0..sockets {
                        let publisher_index = Some(&run.publisher_index);
                        let arrival = Arrival { account, publisher_index, now_ns: *at_ns };
                        reception.message(arrival, frame);
                    }
                }
                assert_eq!((reception.received(), reception.missing()), (received, 0));
            },
            BatchSize::LargeInput,
        );
    });
    group.finish();
}

/// A run of the default scenario, without its sockets.
struct Run {
    plan: Plan,
    publisher_index: PublisherIndex,
}

struct Sent {
    frame: Vec<u8>,
    at_ns: u64,
}

impl Run {
    fn new(payload: Payload) -> Self {
        let scenario = Scenario::parse(builtin::find(builtin::DEFAULT).unwrap().text).unwrap();
        let layout = Layout { subscriber_threads: 1, publisher_threads: 1, ..Layout::default() };
        let target = ([127, 0, 0, 1], 9400).into();
        let destination =
            Destination { target, host: "localhost".into(), token: None, tls: None, run_id: 1 };
        let mut plan = Plan::build(&scenario, &layout, destination);
        plan.warmup = Duration::ZERO;
        plan.publishers.iter_mut().for_each(|publisher| publisher.payload = payload);
        let utc = UtcMap::sample();
        let start_unix_ns = utc.unix_of_mono(mono_ns() + SECOND_NS);
        let publisher_index = PublisherIndex::new(&plan, start_unix_ns, utc, plan.spread_every);
        Self { plan, publisher_index }
    }

    fn encoder(&self, publisher: u32) -> Encoder {
        let plan = &self.plan.publishers[publisher as usize];
        Encoder::new(
            self.plan.run_id,
            self.plan.seed,
            plan,
            *self.publisher_index.schedule(publisher),
        )
    }

    /// The frames of all publishers in the order of their ticks, noted as sent.
    fn arrivals(&self, ticks: u32) -> Vec<Sent> {
        let publishers = 0..self.publisher_index.publishers() as u32;
        let mut encoders: Vec<_> = publishers.map(|publisher| self.encoder(publisher)).collect();
        let mut arrivals = Vec::new();
        for seq in 0..ticks {
            for (publisher, encoder) in (0..).zip(&mut encoders) {
                let due_ns = self.publisher_index.intended_ns(publisher, seq);
                self.publisher_index.log(publisher).attempt(seq, due_ns);
                let frame = encoder.encode(seq).to_vec();
                arrivals.push(Sent { frame, at_ns: due_ns + LATENCY_NS });
            }
        }
        arrivals
    }

    /// Accounts of sockets that follow every publisher.
    fn reception(&self, sockets: u32) -> Reception {
        let mut reception = Reception::new(&self.plan);
        for _ in 0..sockets {
            reception.open(0, Follows::All, self.publisher_index.publishers());
        }
        reception
    }
}
