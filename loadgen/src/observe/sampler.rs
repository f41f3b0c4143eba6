//! Samples the measured process, the generator and the host, once a second and at each change of
//! phase. Must not judge the samples: `health` and `efficiency` do.

use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;
use std::{fs, io};

use procfs::process::Process;
use procfs::{CurrentSI, KernelStats, WithCurrentSystemInfo, ticks_per_second};
use serde::Serialize;

use crate::observe::kernel_counters::{KernelCounters, Reasons};
use crate::observe::progress::{Phase, Progress};
use crate::observe::server_counters::{CounterPage, Counters};
use crate::time::clock::mono_ns;

/// One sample of everything.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Sample {
    /// When, CLOCK_MONOTONIC.
    pub at_ns: u64,
    /// Frames all subscribers had received by then.
    pub received: u64,
    /// The measured process, if it is known and alive.
    pub server: Option<ProcessUsage>,
    /// Its threads, if the kernel provides their CPU time, ordered by thread id.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub server_threads: Vec<ThreadUsage>,
    /// The generator.
    pub own: Option<ProcessUsage>,
    /// The generator's threads, in the same form. They separate the CPU time of receiving from that
    /// of publishing and sampling.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub own_threads: Vec<ThreadUsage>,
    /// The server's own counters, at the start and end of the measured phase, if it publishes them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub counters: Option<Counters>,
    /// The kernel's counters of the server, at the same two points, if they were requested.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kernel: Option<Counters>,
    /// The host.
    pub host: HostUsage,
}

/// The resources a process has used since its start and holds now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct ProcessUsage {
    /// CPU time of all threads, user and kernel.
    pub cpu_ns: u64,
    /// Resident memory.
    pub rss_bytes: u64,
    /// Context switches because a thread waited.
    pub switches_voluntary: u64,
    /// Context switches because a thread was preempted.
    pub switches_involuntary: u64,
    /// Minor page faults: pages touched for the first time and provided without disk access. They
    /// show memory that grows, or that was returned and is taken again. They are not allocations,
    /// most of which touch no new page.
    pub minor_faults: u64,
    /// Running threads.
    pub threads: u64,
}

/// The resources one thread has used since its start.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ThreadUsage {
    /// Its thread id.
    pub id: i32,
    /// Its name; several threads may share one.
    pub name: String,
    /// CPU time, user and kernel.
    pub cpu_ns: u64,
}

/// Counters of the host since its start, and the current memory of its network stack.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct HostUsage {
    /// Kernel memory of all TCP sockets.
    pub tcp_memory_bytes: u64,
    /// Kernel slab memory of all objects, including sockets.
    pub slab_bytes: u64,
    /// TCP sockets in use.
    pub tcp_sockets: u64,
    /// Per CPU.
    pub cpus: Vec<CpuUsage>,
    /// Connections refused because an accept queue was full.
    pub listen_overflows: u64,
    /// Receive queues pruned for lack of buffer.
    pub prunes: u64,
    /// Receive queues collapsed for lack of buffer.
    pub collapses: u64,
    /// Retransmitted segments.
    pub retransmits: u64,
    /// Retransmitted segments that the receiver already had. The kernel retransmits when an
    /// acknowledgement is late, which happens whenever a receiver's CPU is busy.
    pub needless_retransmits: u64,
    /// Periods in which the control group had used up its CPU quota.
    pub throttled: u64,
}

impl HostUsage {
    /// The busy share of a CPU's time between two samples; 0 if unknown.
    pub fn busy_share(&self, later: &HostUsage, cpu: usize) -> f64 {
        let (Some(from), Some(to)) = (self.cpus.get(cpu), later.cpus.get(cpu)) else { return 0.0 };
        let busy = to.busy_ticks.saturating_sub(from.busy_ticks);
        let total = to.total_ticks.saturating_sub(from.total_ticks);
        if total == 0 { 0.0 } else { busy as f64 / total as f64 }
    }
}

/// Time of one CPU since the host's start, in ticks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct CpuUsage {
    /// Not idle and not stolen.
    pub busy_ticks: u64,
    /// Stolen: given to other guests of the hypervisor.
    pub steal_ticks: u64,
    /// The total.
    pub total_ticks: u64,
}

/// The samples of one run.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Samples {
    /// Distance between `points`; it doubles on long runs.
    pub interval_ms: u64,
    /// Before the first connection.
    pub baseline: Sample,
    /// After the last connection, before the first publish.
    pub ramped: Option<Sample>,
    /// At the start of the measured phase.
    pub measure_start: Option<Sample>,
    /// At its end.
    pub measure_end: Option<Sample>,
    /// At regular distances through the whole run.
    pub points: Vec<Sample>,
    /// The requested kernel counters that are missing, and why.
    #[serde(skip_serializing_if = "Reasons::is_empty")]
    pub uncounted: Reasons,
}

/// The most points. More add no information; the distance between them doubles instead.
const POINTS_MAX: usize = 3600;
/// The shortest interval for CPU shares; the kernel counts CPU time in ticks that are too coarse
/// for less.
const SECOND_MIN_NS: u64 = 900_000_000;
/// The most threads listed one by one; the others count only in the sum of their process.
const THREADS_MAX: usize = 64;
/// The longest time until a change of phase is detected.
const CHECK_EVERY: Duration = Duration::from_millis(10);

impl Samples {
    /// Starts with a sample of the idle system.
    pub fn new(baseline: Sample) -> Samples {
        Samples { interval_ms: 1000, baseline, ..Samples::default() }
    }

    /// Whether a sample is due now, in this phase.
    pub fn is_due(&self, phase: Phase, now_ns: u64) -> bool {
        let last_ns = self.points.last().unwrap_or(&self.baseline).at_ns;
        let interval_ns = self.interval_ms * 1_000_000;
        self.lacks_mark(phase) || now_ns.saturating_sub(last_ns) >= interval_ns
    }

    /// Stores a sample: as a mark if it is the first of its phase, and as a point if one is due.
    pub fn add(&mut self, phase: Phase, sample: Sample) {
        if phase > Phase::Ramp {
            self.ramped.get_or_insert_with(|| sample.clone());
        }
        if phase >= Phase::Measure {
            self.measure_start.get_or_insert_with(|| sample.clone());
        }
        if phase > Phase::Measure {
            self.measure_end.get_or_insert_with(|| sample.clone());
        }
        self.points.push(sample);
        if self.points.len() > POINTS_MAX {
            self.thin_out();
        }
    }

    fn lacks_mark(&self, phase: Phase) -> bool {
        (phase > Phase::Ramp && self.ramped.is_none())
            || (phase >= Phase::Measure && self.measure_start.is_none())
            || (phase > Phase::Measure && self.measure_end.is_none())
    }

    fn thin_out(&mut self) {
        let mut keep = false;
        self.points.retain(|_| {
            keep = !keep;
            keep
        });
        self.interval_ms *= 2;
    }

    /// The samples of the measured phase as pairs of neighbours at least a second apart.
    pub fn measured_seconds(&self) -> Vec<(&Sample, &Sample)> {
        let Some((start, end)) = self.measured() else { return Vec::new() };
        let mut kept = vec![start];
        for sample in self.points.iter().chain([end]) {
            let is_later =
                kept.last().is_some_and(|last| sample.at_ns >= last.at_ns + SECOND_MIN_NS);
            if is_later && sample.at_ns <= end.at_ns {
                kept.push(sample);
            }
        }
        kept.iter().copied().zip(kept.iter().skip(1).copied()).collect()
    }

    /// The samples at the start and end of the measured phase, if the run got that far.
    pub fn measured(&self) -> Option<(&Sample, &Sample)> {
        self.measure_start.as_ref().zip(self.measure_end.as_ref())
    }
}

/// The sampling thread.
pub struct Sampler {
    stop: Sender<()>,
    thread: JoinHandle<Samples>,
}

impl Sampler {
    /// Takes the baseline and starts sampling. `server_pid` is the measured process if it runs on
    /// this host, `page` is its metrics page, and `kernel` holds its kernel counters if they were
    /// requested.
    pub fn start(
        server_pid: Option<u32>,
        page: CounterPage,
        kernel: Option<KernelCounters>,
        progress: Arc<Progress>,
    ) -> io::Result<Sampler> {
        let (stop, stopped) = mpsc::channel();
        let mut probe = Probe { page: Some(page), kernel, ..Probe::new(server_pid) };
        let mut samples = Samples::new(probe.take(0));
        let thread = thread::Builder::new().name("sampler".into()).spawn(move || {
            while stopped.recv_timeout(CHECK_EVERY) == Err(RecvTimeoutError::Timeout) {
                sample_if_due(&mut samples, &mut probe, &progress);
            }
            sample_if_due(&mut samples, &mut probe, &progress);
            let missing = probe.kernel.as_ref().map(|kernel| kernel.missing().clone());
            samples.uncounted = missing.unwrap_or_default();
            samples
        })?;
        Ok(Sampler { stop, thread })
    }

    /// Stops sampling; `None` if the thread panicked.
    pub fn finish(self) -> Option<Samples> {
        // A closed channel stops the thread as well as a message does.
        drop(self.stop);
        self.thread.join().ok()
    }
}

fn sample_if_due(samples: &mut Samples, probe: &mut Probe, progress: &Progress) {
    let phase = progress.phase();
    if samples.is_due(phase, mono_ns()) {
        let mut sample = probe.take(progress.received());
        if phase >= Phase::Measure && samples.lacks_mark(phase) {
            // The kernel counters are read first, because reading the metrics page makes the server
            // work.
            sample.kernel = probe.kernel.as_mut().map(KernelCounters::read);
            sample.counters = probe.page.as_ref().and_then(CounterPage::read);
        }
        samples.add(phase, sample);
    }
}

/// Reads `/proc`.
struct Probe {
    server: Option<Process>,
    own: Option<Process>,
    page: Option<CounterPage>,
    kernel: Option<KernelCounters>,
}

impl Probe {
    fn new(server_pid: Option<u32>) -> Probe {
        let server = server_pid.and_then(|pid| i32::try_from(pid).ok());
        let server = server.and_then(|pid| Process::new(pid).ok());
        Probe { server, own: Process::myself().ok(), page: None, kernel: None }
    }

    fn take(&mut self, received: u64) -> Sample {
        let (server, server_threads) = self.server.as_ref().and_then(process_usage).unzip();
        let (own, own_threads) = self.own.as_ref().and_then(process_usage).unzip();
        Sample {
            at_ns: mono_ns(),
            received,
            server,
            server_threads: server_threads.unwrap_or_default(),
            own,
            own_threads: own_threads.unwrap_or_default(),
            counters: None,
            kernel: None,
            host: host_usage(),
        }
    }
}

fn process_usage(process: &Process) -> Option<(ProcessUsage, Vec<ThreadUsage>)> {
    let stat = process.stat().ok()?;
    let mut usage = ProcessUsage {
        rss_bytes: stat.rss_bytes().get(),
        minor_faults: stat.minflt,
        threads: u64::try_from(stat.num_threads).unwrap_or(0),
        ..ProcessUsage::default()
    };
    let mut precise = true;
    let mut threads = Vec::new();
    for task in process.tasks().ok()?.flatten() {
        let status = task.status().ok();
        match task.schedstat() {
            Ok(schedstat) => {
                let name = status.as_ref().map(|status| status.name.clone()).unwrap_or_default();
                let cpu_ns = schedstat.sum_exec_runtime;
                usage.cpu_ns += cpu_ns;
                threads.push(ThreadUsage { id: task.tid, name, cpu_ns });
            }
            Err(_) => precise = false,
        }
        let switches = |count: Option<u64>| count.unwrap_or(0);
        usage.switches_voluntary +=
            switches(status.as_ref().and_then(|s| s.voluntary_ctxt_switches));
        usage.switches_involuntary +=
            switches(status.as_ref().and_then(|s| s.nonvoluntary_ctxt_switches));
    }
    let ticks_ns = (stat.utime + stat.stime) * (1_000_000_000 / ticks_per_second().max(1));
    // Threads that have ended appear only in the process's ticks, and a kernel without schedstat
    // has only ticks.
    if !precise || usage.cpu_ns == 0 {
        usage.cpu_ns = ticks_ns;
    }
    threads.truncate(THREADS_MAX);
    Some((usage, threads))
}

fn host_usage() -> HostUsage {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let netstat = read("/proc/net/netstat");
    let sockstat = read("/proc/net/sockstat");
    HostUsage {
        tcp_memory_bytes: after_word(&sockstat, "TCP:", "mem") * PAGE_BYTES,
        slab_bytes: after_word(&read("/proc/meminfo"), "Slab:", "Slab:") * 1024,
        tcp_sockets: after_word(&sockstat, "TCP:", "inuse"),
        cpus: KernelStats::current().map(|stats| cpu_usages(&stats)).unwrap_or_default(),
        listen_overflows: column(&netstat, "TcpExt:", "ListenOverflows"),
        prunes: column(&netstat, "TcpExt:", "PruneCalled"),
        collapses: column(&netstat, "TcpExt:", "TCPRcvCollapsed"),
        retransmits: column(&read("/proc/net/snmp"), "Tcp:", "RetransSegs"),
        needless_retransmits: column(&netstat, "TcpExt:", "TCPDSACKRecv"),
        throttled: after_word(&read("/sys/fs/cgroup/cpu.stat"), "nr_throttled", "nr_throttled"),
    }
}

/// The page size in which the kernel counts TCP memory on the supported machines.
const PAGE_BYTES: u64 = 4096;

fn cpu_usages(stats: &KernelStats) -> Vec<CpuUsage> {
    stats
        .cpu_time
        .iter()
        .map(|time| {
            let part = |ticks: Option<u64>| ticks.unwrap_or(0);
            let steal_ticks = part(time.steal);
            // Guest time is already part of `user`.
            let busy_ticks =
                time.user + time.nice + time.system + part(time.irq) + part(time.softirq);
            let total_ticks = busy_ticks + steal_ticks + time.idle + part(time.iowait);
            CpuUsage { busy_ticks, steal_ticks, total_ticks }
        })
        .collect()
}

/// The number after `word` in the line that starts with `label`; 0 if there is none.
fn after_word(text: &str, label: &str, word: &str) -> u64 {
    let line = text.lines().find(|line| line.starts_with(label)).unwrap_or_default();
    let mut words = line.split_whitespace().skip_while(|found| *found != word);
    words.nth(1).and_then(|number| number.parse().ok()).unwrap_or(0)
}

/// The value of `name` in the pair of lines that start with `label`: names above, values below.
fn column(text: &str, label: &str, name: &str) -> u64 {
    let mut lines = text.lines().filter(|line| line.starts_with(label));
    let (names, values) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
    let mut pairs = names.split_whitespace().zip(values.split_whitespace());
    let value = pairs.find(|(found, _)| *found == name).map(|(_, value)| value);
    value.and_then(|number| number.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(at_ns: u64) -> Sample {
        Sample { at_ns, ..Sample::default() }
    }

    #[test]
    fn marks_are_the_first_samples_of_their_phases() {
        let mut samples = Samples::new(at(0));
        let phases = [
            (1, Phase::Ramp),
            (2, Phase::Ready),
            (3, Phase::Warmup),
            (4, Phase::Measure),
            (5, Phase::Measure),
            (6, Phase::Drain),
            (7, Phase::Done),
        ];
        for (at_ns, phase) in phases {
            samples.add(phase, at(at_ns));
        }
        assert_eq!(samples.ramped.as_ref().map(|s| s.at_ns), Some(2));
        let (start, end) = samples.measured().unwrap();
        assert_eq!((start.at_ns, end.at_ns), (4, 6));
        assert_eq!(samples.points.len(), 7);
    }

    #[test]
    fn a_change_of_phase_is_sampled_at_once_and_the_rest_once_a_second() {
        let mut samples = Samples::new(at(0));
        assert!(!samples.is_due(Phase::Ramp, 999_999_999));
        assert!(samples.is_due(Phase::Ramp, 1_000_000_000));
        assert!(samples.is_due(Phase::Measure, 5));
        samples.add(Phase::Measure, at(5));
        assert!(!samples.is_due(Phase::Measure, 6));
        assert!(samples.is_due(Phase::Drain, 7));
    }

    #[test]
    fn long_runs_keep_a_bounded_number_of_points() {
        let mut samples = Samples::new(at(0));
        for second in 1..=20_000u64 {
            let now_ns = second * 1_000_000_000;
            if samples.is_due(Phase::Ramp, now_ns) {
                samples.add(Phase::Ramp, at(now_ns));
            }
        }
        assert!(samples.points.len() <= POINTS_MAX);
        assert_eq!(samples.interval_ms, 8000);
    }

    #[test]
    fn this_process_is_seen() {
        let sample = Probe::new(Some(std::process::id())).take(3);
        let (server, own) = (sample.server.unwrap(), sample.own.unwrap());
        assert!(server.cpu_ns > 0 && own.rss_bytes > 4096 && own.threads >= 1);
        assert!(!sample.host.cpus.is_empty() && sample.received == 3);
        for (threads, whole) in [(&sample.server_threads, server), (&sample.own_threads, own)] {
            assert!(threads.iter().any(|thread| thread.cpu_ns > 0 && !thread.name.is_empty()));
            assert!(threads.iter().map(|thread| thread.cpu_ns).sum::<u64>() <= whole.cpu_ns);
        }
    }

    #[test]
    fn a_process_that_does_not_exist_is_absent() {
        assert!(Probe::new(Some(u32::MAX)).take(0).server.is_none());
    }

    #[test]
    fn the_two_forms_of_proc_tables_are_read() {
        let sockstat = "sockets: used 9\nTCP: inuse 5 orphan 0 tw 2 alloc 7 mem 12\nUDP: inuse 1";
        assert_eq!(after_word(sockstat, "TCP:", "mem"), 12);
        assert_eq!(after_word(sockstat, "TCP:", "none"), 0);
        let netstat = "TcpExt: A PruneCalled B\nTcpExt: 1 22 3\nIpExt: X\nIpExt: 9";
        assert_eq!(column(netstat, "TcpExt:", "PruneCalled"), 22);
        assert_eq!(column("", "TcpExt:", "PruneCalled"), 0);
    }
}
