//! The cost of a delivery and of a connection in the measured process. A pure function of the
//! samples.

use serde::{Deserialize, Serialize};

use crate::observe::kernel_counters;
use crate::observe::sampler::{ProcessUsage, Sample, Samples};

/// Costs over the measured phase; absent if the process could not be observed.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Efficiency {
    /// CPU time of the server per frame received by a subscriber.
    pub cpu_ns_per_delivery: Option<f64>,
    /// Deliveries per second that one fully used core of the server can do.
    pub deliveries_per_core_s: Option<f64>,
    /// User memory of the server per connection, after the ramp and before the first frame.
    pub rss_bytes_per_connection: Option<f64>,
    /// Kernel memory per connection at the same instant: socket objects and TCP buffers, of both
    /// ends if both are on this host. It is counted for the whole host, so other work on the host
    /// disturbs the number.
    pub kernel_bytes_per_connection: Option<f64>,
    /// CPUs the server kept busy, on average.
    pub server_cpus_busy: Option<f64>,
    /// CPUs the generator kept busy, on average.
    pub own_cpus_busy: Option<f64>,
    /// Server memory at the end of the measured phase.
    pub server_rss_bytes: Option<u64>,
    /// Context switches of the server per second.
    pub server_switches_per_s: Option<f64>,
    /// Context switches of the server per frame received by a subscriber.
    pub switches_per_delivery: Option<f64>,
    /// Minor page faults of the server per frame received.
    pub minor_faults_per_delivery: Option<f64>,
    /// System calls of the server per frame received, if the kernel counted them.
    pub syscalls_per_delivery: Option<f64>,
    /// Allocations of the server per frame received, if the kernel counted them.
    pub allocations_per_delivery: Option<f64>,
    /// Instructions of the server in user space per frame received, if the kernel counted them.
    pub instructions_per_delivery: Option<f64>,
}

impl Efficiency {
    /// Computes every cost that the samples allow.
    pub fn of(samples: &Samples, connections: u64) -> Efficiency {
        let mut costs = Efficiency::default();
        if let Some((start, end)) = samples.measured() {
            costs.add_measured(start, end);
        }
        if let Some(ramped) = samples.ramped.as_ref().filter(|_| connections > 0) {
            costs.add_ramped(&samples.baseline, ramped, connections as f64);
        }
        costs
    }

    fn add_measured(&mut self, start: &Sample, end: &Sample) {
        let seconds = end.at_ns.saturating_sub(start.at_ns) as f64 / 1e9;
        let deliveries = end.received.saturating_sub(start.received) as f64;
        let positive = |value: f64| value.is_finite().then_some(value).filter(|v| *v > 0.0);
        let cpu_s = |from: &Option<ProcessUsage>, to: &Option<ProcessUsage>| {
            let (from, to) = (from.as_ref()?, to.as_ref()?);
            Some(to.cpu_ns.saturating_sub(from.cpu_ns) as f64 / 1e9)
        };
        let server_s = cpu_s(&start.server, &end.server);
        self.cpu_ns_per_delivery = server_s.and_then(|s| positive(s * 1e9 / deliveries));
        self.deliveries_per_core_s = server_s.and_then(|s| positive(deliveries / s));
        self.server_cpus_busy = server_s.and_then(|s| positive(s / seconds));
        self.own_cpus_busy = cpu_s(&start.own, &end.own).and_then(|s| positive(s / seconds));
        self.server_rss_bytes = end.server.map(|server| server.rss_bytes);
        let grown = |count: fn(&ProcessUsage) -> u64| {
            let (from, to) = start.server.as_ref().zip(end.server.as_ref())?;
            Some(count(to).saturating_sub(count(from)) as f64)
        };
        self.server_switches_per_s = grown(switches).map(|count| count / seconds);
        self.switches_per_delivery = grown(switches).and_then(|c| positive(c / deliveries));
        let faults = grown(|usage| usage.minor_faults);
        self.minor_faults_per_delivery = faults.and_then(|c| positive(c / deliveries));
        self.add_counted(start, end, deliveries);
    }

    fn add_counted(&mut self, start: &Sample, end: &Sample, deliveries: f64) {
        let (Some(from), Some(to)) = (&start.kernel, &end.kernel) else { return };
        let counted = kernel_counters::between(from, to);
        let per_delivery = |name: &str| {
            let count = counted.get(name)?;
            (deliveries > 0.0).then(|| *count as f64 / deliveries)
        };
        self.syscalls_per_delivery = per_delivery("syscalls");
        self.allocations_per_delivery = per_delivery("allocations");
        self.instructions_per_delivery = per_delivery("instructions");
    }

    fn add_ramped(&mut self, before: &Sample, after: &Sample, connections: f64) {
        let grown = |from: u64, to: u64| to.saturating_sub(from) as f64 / connections;
        self.rss_bytes_per_connection = before
            .server
            .zip(after.server)
            .map(|(before, after)| grown(before.rss_bytes, after.rss_bytes));
        let memory = |sample: &Sample| sample.host.tcp_memory_bytes + sample.host.slab_bytes;
        self.kernel_bytes_per_connection = Some(grown(memory(before), memory(after)));
    }
}

fn switches(usage: &ProcessUsage) -> u64 {
    usage.switches_voluntary + usage.switches_involuntary
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(at_s: u64, received: u64, cpu_ms: u64, rss: u64) -> Sample {
        let usage = ProcessUsage {
            cpu_ns: cpu_ms * 1_000_000,
            rss_bytes: rss,
            switches_voluntary: at_s * 10,
            minor_faults: at_s * 1_000,
            ..ProcessUsage::default()
        };
        let mut sample = Sample { at_ns: at_s * 1_000_000_000, received, ..Sample::default() };
        (sample.server, sample.own) = (Some(usage), Some(usage));
        (sample.host.tcp_memory_bytes, sample.host.slab_bytes) = (rss, rss);
        sample
    }

    #[test]
    fn costs_are_of_the_measured_phase_only() {
        let mut samples = Samples::new(sample(0, 0, 100, 1_000));
        samples.ramped = Some(sample(2, 0, 900, 11_000));
        samples.measure_start = Some(sample(4, 500, 1_000, 20_000));
        samples.measure_end = Some(sample(14, 100_500, 6_000, 30_000));
        let costs = Efficiency::of(&samples, 100);
        assert_eq!(costs.cpu_ns_per_delivery, Some(50_000.0));
        assert_eq!(costs.deliveries_per_core_s, Some(20_000.0));
        assert_eq!(costs.rss_bytes_per_connection, Some(100.0));
        assert_eq!(costs.kernel_bytes_per_connection, Some(200.0));
        assert_eq!((costs.server_cpus_busy, costs.own_cpus_busy), (Some(0.5), Some(0.5)));
        assert_eq!(costs.server_rss_bytes, Some(30_000));
        assert_eq!(costs.server_switches_per_s, Some(10.0));
        assert_eq!(costs.switches_per_delivery, Some(0.001));
        assert_eq!(costs.minor_faults_per_delivery, Some(0.1));
        assert_eq!(costs.syscalls_per_delivery, None, "the kernel was not asked");
    }

    #[test]
    fn what_the_kernel_counted_is_told_per_delivery() {
        let counted = |at_s, received, syscalls| {
            let kernel = Some([("syscalls", syscalls)].into());
            Some(Sample { kernel, ..sample(at_s, received, 0, 0) })
        };
        let mut samples = Samples::new(Sample::default());
        samples.measure_start = counted(4, 500, 7_000);
        samples.measure_end = counted(14, 100_500, 57_000);
        let costs = Efficiency::of(&samples, 100);
        assert_eq!(costs.syscalls_per_delivery, Some(0.5));
        assert_eq!(costs.instructions_per_delivery, None, "this machine has no such counter");
    }

    #[test]
    fn what_was_not_seen_is_absent_rather_than_zero() {
        assert_eq!(Efficiency::of(&Samples::default(), 100), Efficiency::default());
        let mut samples = Samples::new(Sample::default());
        samples.measure_start = Some(sample(1, 5, 5, 5));
        samples.measure_end = Some(sample(1, 5, 5, 5));
        let costs = Efficiency::of(&samples, 0);
        assert_eq!((costs.cpu_ns_per_delivery, costs.rss_bytes_per_connection), (None, None));
    }
}
