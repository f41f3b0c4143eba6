//! How every suite of benchmarks is run: how long each is warmed up and measured. Must not measure
//! anything itself.

use std::time::Duration;

use criterion::Criterion;

/// Runs `benchmarks` as the command line asks, and sums up.
pub fn run(benchmarks: impl FnOnce(&mut Criterion)) {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(3))
        .configure_from_args();
    benchmarks(&mut criterion);
    criterion.final_summary();
}
