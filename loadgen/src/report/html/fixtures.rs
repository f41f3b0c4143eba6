//! The small clean run of the crate's fixtures as a result on disk, with every second filled in,
//! for the tests of pages. Tests only.

use serde_json::{Value, json};

use crate::fixtures::{outcome, with_record};
use crate::receive::outcome::Outcome;
use crate::receive::outcome::class::ClassOutcome;
use crate::receive::outcome::window::Window;
use crate::report::html::document::Document;
use crate::result::record::run_json;

/// Two seconds of warm-up, ten measured, one of drain, and a server of three threads.
pub fn run() -> Value {
    run_of(outcome())
}

/// The same with another outcome.
pub fn run_of(mut outcome: Outcome) -> Value {
    let first = outcome.windows[0].clone();
    outcome.windows = (0..13).map(|t_s| Window { t_s, ..first.clone() }).collect();
    let mut run = with_record(&outcome, run_json);
    run["samples"]["points"] = (3..15).map(sample).collect();
    run
}

/// The same, parsed.
pub fn document() -> Document {
    serde_json::from_value(run()).unwrap()
}

/// A class of this run.
pub fn class() -> ClassOutcome {
    document().totals.classes.swap_remove(0)
}

fn sample(at_s: u64) -> Value {
    let ms = |per_s: u64| at_s * per_s * 1_000_000;
    json!({
        "at_ns": at_s * 1_000_000_000,
        "server": {
            "cpu_ns": ms(650),
            "rss_bytes": (9 + at_s) * 1_000_000,
            "switches_voluntary": at_s * 100,
            "switches_involuntary": at_s,
        },
        "server_threads": [
            { "id": 42, "name": "gridcast", "cpu_ns": ms(100) },
            { "id": 43, "name": "core-0", "cpu_ns": ms(500) },
        ],
        "host": { "tcp_memory_bytes": at_s << 20 },
    })
}
