//! Seeded simulation of a whole engine: the real cores, turn by turn, over a fake network with a
//! clock of its own. Clients of every kind take a few bytes, stall, come back, end or break off;
//! after every turn the invariants are checked against an oracle that knows everything that was
//! sent. No thread, no real socket, no real time.
//!
//! * `network`: what the cores see: connections, edges, time.
//! * `client`, `follower`: what the cores are asked, and the judgement of what comes.
//! * `log`: a log that numbers what is published.
//! * `session`, `proxied`, `tokens`: what comes with a client: TLS, a PROXY header, rights.
//! * `record`: what every feed took, in order.
//! * `world`: what happens when, and what must hold.
//! * `profile`: what kinds of seeds there are.
//!
//! One seed is replayed with `SEED=123 cargo test -p gridcast-engine --test simulation`; more seeds
//! are run with `SEEDS=100000`.
#![allow(clippy::unwrap_used, clippy::expect_used)] // a test fails by panicking

#[path = "../harness/mod.rs"]
mod harness;

mod client;
mod follower;
mod log;
mod network;
mod profile;
mod proxied;
mod record;
mod session;
mod talk;
mod tokens;
mod world;

use std::panic::catch_unwind;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use world::World;

const SEEDS_DEFAULT: u64 = 1024;

#[test]
fn every_seed_keeps_every_promise() {
    if let Some(seed) = number("SEED") {
        return World::new(seed).run();
    }
    let seeds = number("SEEDS").unwrap_or(SEEDS_DEFAULT);
    let next = AtomicU64::new(0);
    let work = || {
        while let seed = next.fetch_add(1, Ordering::Relaxed)
            && seed < seeds
        {
            let run = catch_unwind(|| World::new(seed).run());
            let command = format!("SEED={seed} cargo test -p gridcast-engine --test simulation");
            assert!(run.is_ok(), "replay with {command}");
        }
    };
    thread::scope(|scope| {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let threads: Vec<_> = (0..cores).map(|_| scope.spawn(work)).collect();
        let failed = threads.into_iter().filter_map(|thread| thread.join().err()).next();
        if let Some(panic) = failed {
            std::panic::resume_unwind(panic);
        }
    });
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}
