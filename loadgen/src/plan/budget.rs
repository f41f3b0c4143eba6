//! What a scenario costs and how this host can carry it: threads, CPUs, addresses. Refuses an
//! impossible load before a socket is opened, and names the remedy. Must not read the host itself.

use std::net::{IpAddr, Ipv4Addr};

use thiserror::Error;

use crate::plan::course::Course;
use crate::plan::implied::Implied;
use crate::plan::layout::Layout;
use crate::plan::overlaid;
use crate::scenario::profile::{Growing, Profile};
use crate::scenario::publishers::{Phase, PublisherGroup};
use crate::scenario::scenario::Scenario;
use crate::scenario::source::SourceRange;
use crate::time::units::{format_bytes, format_count, format_exact};

/// What the host allows; read by `host`.
#[derive(Debug, Clone)]
pub struct HostLimits {
    /// The most descriptors of one table (RLIMIT_NOFILE, hard limit).
    pub descriptors_per_table: u64,
    /// The most open files of the whole system.
    pub descriptors_of_system: u64,
    /// Size of `net.ipv4.ip_local_port_range`.
    pub ports_per_source: u64,
    /// Memory that can be had without swapping.
    pub memory_available_bytes: u64,
    /// CPUs this process may run on.
    pub cpus: Vec<usize>,
}

/// The choices of the command line; `None` leaves a choice to the budget.
#[derive(Debug, Clone, Default)]
pub struct LayoutRequest {
    /// Subscriber threads.
    pub threads: Option<usize>,
    /// Cores of the embedded engine.
    pub engine_cores: Option<usize>,
    /// CPUs of the generator.
    pub cpus: Option<Vec<usize>>,
    /// The most connections that the embedded engine is told to take.
    pub engine_connections: Option<u64>,
    /// Start even if the scenario implies more writes than the engine is expected to carry.
    pub force: bool,
}

/// Where the load goes, as far as the budget needs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TargetKind {
    /// Our own engine on this host.
    Embedded,
    /// A server at this address.
    Server(IpAddr),
}

/// Why a load cannot run on this host, with the remedy.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum Refusal {
    /// Threads or cores would have to hold more sockets than a descriptor table takes.
    #[error(
        "{who}: {sockets} sockets on {tables} private descriptor tables of {limit} each; \
         use {remedy}, or raise the limit (`ulimit -Hn`, limits.conf `nofile`)"
    )]
    Descriptors {
        /// The owner of the sockets.
        who: &'static str,
        /// The number of sockets.
        sockets: u64,
        /// The number of tables they are spread over.
        tables: u64,
        /// The size of a table.
        limit: u64,
        /// The flag that solves it.
        remedy: String,
    },
    /// The sockets of both ends exceed the open files of the system.
    #[error(
        "{needed} open files are needed, the system allows {allowed}; \
             run `sysctl -w fs.file-max={needed}`"
    )]
    SystemFiles {
        /// Descriptors of both ends.
        needed: u64,
        /// `fs.file-max`.
        allowed: u64,
    },
    /// More sockets than local ports.
    #[error(
        "{sockets} sockets from {sources} source address(es) with {per_source} ports each; \
         {needed} address(es) are needed: {remedy}"
    )]
    Ports {
        /// Subscriber sockets.
        sockets: u64,
        /// Available addresses.
        sources: u64,
        /// Sockets that each of them can carry.
        per_source: u64,
        /// Addresses needed.
        needed: u64,
        /// How to get them.
        remedy: String,
    },
    /// The load needs more memory than the host has.
    #[error(
        "about {needed} of memory would be used, {available} are available (a fifth is kept free); \
         lower --subscribers to about {fitting}"
    )]
    Memory {
        /// User and kernel memory of both ends.
        needed: String,
        /// `MemAvailable`.
        available: String,
        /// Sockets that would fit into the memory.
        fitting: u64,
    },
    /// The embedded engine is told to take fewer connections than the load has.
    #[error(
        "{sockets} connections are needed, the engine is told to take {allowed}; \
         use --engine-set limits.connections_max={needed}, or leave it out"
    )]
    EngineConnections {
        /// Subscribers and publishers.
        sockets: u64,
        /// `limits.connections_max`.
        allowed: u64,
        /// What would do.
        needed: u64,
    },
    /// More socket writes than the engine's cores can do.
    #[error(
        "{writes} socket writes/s are implied, {cores} engine core(s) carry about {carried}; \
         use --subscribers {fitting} or --rate {rate}, or --engine-cores {needed} on as many CPUs \
         (--force starts anyway)"
    )]
    Writes {
        /// The writes per second that the scenario implies.
        writes: String,
        /// Cores of the embedded engine that have a CPU.
        cores: u64,
        /// The writes per second these cores can do.
        carried: String,
        /// Dashboards that would fit.
        fitting: u64,
        /// Frames per second that would fit.
        rate: String,
        /// Engine cores that would be enough.
        needed: u64,
    },
    /// The command line names CPUs that this process may not use.
    #[error("--cpus {0} is not among the CPUs this process may run on; see `taskset -p $$`")]
    NoSuchCpu(usize),
}

/// Connections of an engine beside those of the load.
const ENGINE_CONNECTIONS_KEPT: u64 = 64;
/// Descriptors of a table that are not sockets: libraries, files, pollers and inherited ones.
pub const DESCRIPTORS_KEPT: u64 = 200;
/// One core writes a single small frame to a loopback socket in 4 to 5 µs.
const WRITES_PER_CORE_PER_S: f64 = 200_000.0;
/// Time a publisher thread needs to encode and write one frame.
const PUBLISH_S: f64 = 6e-6;
/// The largest share of its period that a burst may take; a longer one is spread over more threads.
const BURST_OF_PERIOD_MAX: f64 = 0.02;
/// An upper bound of addresses, more than any number of sockets needs.
const SOURCES_MAX: usize = 65_536;
/// The share of a port range that is used where the user must add addresses. The rest is a margin,
/// so that ports still in TIME_WAIT do no harm.
const PORTS_USED_MAX: f64 = 0.75;
/// The share that is used where addresses cost nothing. Linux first searches the ports of one
/// parity; once that half is taken, every connect walks all of it (measured: 2,000 connects per
/// second fell to 450).
const PORTS_USED_FREELY: f64 = 0.4;
/// Both ends of an idle loopback connection: kernel structures and user memory.
const BYTES_PER_SOCKET: u64 = 10 * 1024;
/// What the kernel may buffer for a socket that does not read.
pub const BYTES_PER_CLOGGED_SOCKET: u64 = 512 * 1024;
/// Verification state of one publisher on one socket.
const BYTES_PER_PAIR: u64 = 24;
/// A histogram of 3 digits from 1 ns to beyond 60 s.
const BYTES_PER_HISTOGRAM: u64 = 216 * 1024;

/// A load that fits, and how it is carried.
#[derive(Debug, Clone, PartialEq)]
pub struct Budget {
    /// The rates and sizes of the load.
    pub implied: Implied,
    /// The layout on the host.
    pub layout: Layout,
    /// Descriptors in the fullest table of the generator.
    pub descriptors_per_thread: u64,
    /// Memory of the generator's histograms.
    pub histogram_bytes: u64,
    /// User and kernel memory of both ends.
    pub memory_bytes: u64,
}

/// Fits a scenario onto a host, or returns everything that prevents it.
pub fn fit(
    scenario: &Scenario,
    host: &HostLimits,
    layout_request: &LayoutRequest,
    target_kind: TargetKind,
) -> Result<Budget, Vec<Refusal>> {
    let (budget, refusals) = assess(scenario, host, layout_request, target_kind);
    if refusals.is_empty() { Ok(budget) } else { Err(refusals) }
}

/// How a scenario would be carried, and everything that prevents it.
pub fn assess(
    scenario: &Scenario,
    host: &HostLimits,
    layout_request: &LayoutRequest,
    target_kind: TargetKind,
) -> (Budget, Vec<Refusal>) {
    let implied = Implied::of(scenario);
    let mut refusals = Vec::new();
    let case = Case { scenario, implied: &implied, host, layout_request, target_kind };
    let layout = case.lay_out(&mut refusals);
    let histogram_bytes = histogram_bytes(scenario, &layout);
    let memory_bytes = memory_bytes(&implied) + histogram_bytes;
    case.check_descriptors(&layout, &mut refusals);
    case.check_connections(&mut refusals);
    case.check_memory(memory_bytes, &mut refusals);
    case.check_writes(&layout, &mut refusals);
    let sockets_per_thread = implied.subscriber_sockets.div_ceil(layout.subscriber_threads as u64);
    let descriptors_per_thread = sockets_per_thread + DESCRIPTORS_KEPT;
    let budget = Budget { implied, layout, descriptors_per_thread, histogram_bytes, memory_bytes };
    (budget, refusals)
}

impl Budget {
    /// Connections that an engine of our own has to take.
    pub fn engine_connections(&self) -> u64 {
        engine_connections(self.implied.subscriber_sockets + self.implied.publisher_sockets)
    }

    /// One line per quantity, for a person to check before the run.
    pub fn lines(&self) -> Vec<(&'static str, String)> {
        let (implied, layout) = (&self.implied, &self.layout);
        let sources = match layout.sources.len() {
            0 => "chosen by the kernel".to_owned(),
            count => format!("{count} addresses"),
        };
        let at_last = |profile: Profile| format!(" in the last lap: {profile}");
        let of_publishers = implied.profile.filter(|profile| profile.of == Growing::Publishers);
        let [published, delivered] =
            [of_publishers, implied.profile].map(|grows| grows.map_or(String::new(), at_last));
        vec![
            ("publishes", format!("{}/s{published}", format_count(implied.publishes_per_s))),
            ("deliveries", format!("{}/s{delivered}", format_count(implied.deliveries_per_s))),
            (
                "writes",
                format!("{}/s if each tick is one write", format_count(implied.writes_per_s)),
            ),
            ("egress", format!("{}bit/s with frame headers", spaced(implied.egress_bits_per_s))),
            (
                "sockets",
                format!(
                    "{} subscribers, {} publishers",
                    format_exact(implied.subscriber_sockets),
                    format_exact(implied.publisher_sockets)
                ),
            ),
            ("descriptors", format!("{} per thread", format_exact(self.descriptors_per_thread))),
            ("source addresses", sources),
            ("histograms", format_bytes(self.histogram_bytes as f64)),
            ("memory, in all", format!("about {}", format_bytes(self.memory_bytes as f64))),
            ("generator", self.generator_line()),
            ("engine", engine_line(layout)),
        ]
    }

    fn generator_line(&self) -> String {
        let layout = &self.layout;
        format!(
            "{} subscriber and {} publisher thread(s) on {}",
            layout.subscriber_threads,
            layout.publisher_threads,
            cpu_list(layout.generator_cpus.as_deref())
        )
    }
}

/// A socket that comes back may be there before its old connection is gone, and the sampler asks
/// for a page now and then.
fn engine_connections(sockets: u64) -> u64 {
    sockets + sockets / 4 + ENGINE_CONNECTIONS_KEPT
}

fn spaced(bits: f64) -> String {
    let text = format_count(bits);
    if text.ends_with(|c: char| c.is_ascii_digit()) { text + " " } else { text }
}

fn engine_line(layout: &Layout) -> String {
    match layout.engine_cores {
        0 => "the target's own".to_owned(),
        cores => format!("{cores} core(s) on {}", cpu_list(layout.engine_cpus.as_deref())),
    }
}

fn cpu_list(cpus: Option<&[usize]>) -> String {
    cpus.map_or_else(
        || "any CPU".to_owned(),
        |cpus| {
            let list: Vec<_> = cpus.iter().map(usize::to_string).collect();
            format!("CPU {}", list.join(","))
        },
    )
}

/// The inputs of the layout.
struct Case<'c> {
    scenario: &'c Scenario,
    implied: &'c Implied,
    host: &'c HostLimits,
    layout_request: &'c LayoutRequest,
    target_kind: TargetKind,
}

type Cpus = Option<Vec<usize>>;

impl Case<'_> {
    fn lay_out(&self, refusals: &mut Vec<Refusal>) -> Layout {
        let (generator_cpus, engine_cpus) = self.split_cpus(refusals);
        let cpus = generator_cpus.as_ref().map_or(self.host.cpus.len(), Vec::len);
        let publisher_threads = self.publisher_threads(cpus);
        Layout {
            subscriber_threads: self.subscriber_threads(cpus, publisher_threads),
            publisher_threads,
            sources: self.sources(refusals),
            engine_cores: self.engine_cores(engine_cpus.as_deref()),
            generator_cpus,
            engine_cpus,
        }
    }

    /// CPUs of the generator and of the embedded engine; they do not overlap if there are enough.
    fn split_cpus(&self, refusals: &mut Vec<Refusal>) -> (Cpus, Cpus) {
        let cpus = &self.host.cpus;
        let embedded = self.target_kind == TargetKind::Embedded;
        if let Some(wanted) = &self.layout_request.cpus {
            let absent = wanted.iter().filter(|cpu| !cpus.contains(cpu));
            refusals.extend(absent.map(|cpu| Refusal::NoSuchCpu(*cpu)));
            let rest: Vec<_> = cpus.iter().copied().filter(|cpu| !wanted.contains(cpu)).collect();
            return (Some(wanted.clone()), Some(rest).filter(|cpus| embedded && !cpus.is_empty()));
        }
        if !embedded || cpus.len() < 2 {
            return (None, None);
        }
        let share =
            self.layout_request.engine_cores.unwrap_or(cpus.len() / 2).clamp(1, cpus.len() - 1);
        let (engine, generator) = cpus.split_at(share);
        (Some(generator.to_vec()), Some(engine.to_vec()))
    }

    /// The number of tables that hold this many sockets.
    fn tables(&self, sockets: u64) -> usize {
        usize::try_from(sockets.div_ceil(self.sockets_per_table())).unwrap_or(usize::MAX)
    }

    fn sockets_per_table(&self) -> u64 {
        self.host.descriptors_per_table.saturating_sub(DESCRIPTORS_KEPT).max(1)
    }

    /// Enough threads to keep a tick's burst short against its period, at most half of the CPUs.
    fn publisher_threads(&self, cpus: usize) -> usize {
        let burst_share = |group: &PublisherGroup| match group.phase {
            Phase::Aligned => {
                let peak = group.burst.map_or(group.rate, |burst| burst.grid_rate(group.rate));
                f64::from(group.count) * peak.per_second() * PUBLISH_S
            }
            Phase::Staggered | Phase::Jitter { .. } => 0.0,
        };
        let burst: f64 = self.scenario.publishers.iter().map(burst_share).sum();
        let short = (burst / BURST_OF_PERIOD_MAX).ceil() as usize;
        let publishers = self.implied.publisher_sockets;
        let threads = short.clamp(1, (cpus / 2).max(1)).max(self.tables(publishers));
        threads.min(publishers.max(1) as usize)
    }

    fn subscriber_threads(&self, cpus: usize, publisher_threads: usize) -> usize {
        let sockets = self.implied.subscriber_sockets;
        // Publishers must not wait for a CPU while subscribers read.
        let reading_cpus = cpus.saturating_sub(publisher_threads).max(1);
        let enough = reading_cpus.max(self.tables(sockets)).min(sockets.max(1) as usize);
        self.layout_request.threads.unwrap_or(enough).max(1)
    }

    fn engine_cores(&self, engine_cpus: Option<&[usize]>) -> usize {
        let sockets = self.implied.subscriber_sockets + self.implied.publisher_sockets;
        match self.target_kind {
            TargetKind::Server(_) => 0,
            TargetKind::Embedded => self
                .layout_request
                .engine_cores
                .unwrap_or_else(|| engine_cpus.map_or(1, <[usize]>::len).max(self.tables(sockets))),
        }
    }

    fn sources(&self, refusals: &mut Vec<Refusal>) -> Vec<IpAddr> {
        let ports = self.host.ports_per_source;
        let sockets = self.implied.subscriber_sockets;
        let needed_at = |share: f64| sockets.div_ceil(((ports as f64 * share) as u64).max(1));
        let needed = needed_at(PORTS_USED_MAX);
        let named = self.named_sources();
        let on_loopback = match self.target_kind {
            TargetKind::Embedded => true,
            TargetKind::Server(address) => address.is_ipv4() && address.is_loopback(),
        };
        if named.is_empty() && on_loopback && needed > 1 {
            return loopback_sources(needed_at(PORTS_USED_FREELY));
        }
        let per_source = (ports as f64 * PORTS_USED_MAX) as u64;
        let there = named.len().max(1) as u64;
        if there < needed {
            let remedy = format!(
                "pass more of this host's addresses with --source-ip, or widen the port range \
                 with `sysctl -w net.ipv4.ip_local_port_range=\"1024 65535\"` (now {ports} ports)"
            );
            refusals.push(Refusal::Ports { sockets, sources: there, per_source, needed, remedy });
        }
        named
    }

    fn named_sources(&self) -> Vec<IpAddr> {
        let ranges = &self.scenario.target.source_ips;
        ranges.iter().flat_map(SourceRange::addresses).take(SOURCES_MAX).collect()
    }

    fn check_connections(&self, refusals: &mut Vec<Refusal>) {
        let sockets = self.implied.subscriber_sockets + self.implied.publisher_sockets;
        let Some(allowed) = self.layout_request.engine_connections else { return };
        if self.target_kind == TargetKind::Embedded && allowed < sockets {
            let needed = engine_connections(sockets);
            refusals.push(Refusal::EngineConnections { sockets, allowed, needed });
        }
    }

    fn check_descriptors(&self, layout: &Layout, refusals: &mut Vec<Refusal>) {
        let limit = self.host.descriptors_per_table;
        let subscribers = self.implied.subscriber_sockets;
        let everyone = subscribers + self.implied.publisher_sockets;
        for (who, flag, sockets, tables) in [
            ("gridload's threads", "--threads", subscribers, layout.subscriber_threads),
            ("the engine's cores", "--engine-cores", everyone, layout.engine_cores),
        ] {
            // No tables are checked: the target runs elsewhere and has its own limits.
            if tables > 0 && tables < self.tables(sockets) {
                let (tables, remedy) = (tables as u64, format!("{flag} {}", self.tables(sockets)));
                refusals.push(Refusal::Descriptors { who, sockets, tables, limit, remedy });
            }
        }
        let needed = everyone * layout.ends();
        if needed > self.host.descriptors_of_system {
            let allowed = self.host.descriptors_of_system;
            refusals.push(Refusal::SystemFiles { needed, allowed });
        }
    }

    fn check_memory(&self, bytes: u64, refusals: &mut Vec<Refusal>) {
        let usable = self.host.memory_available_bytes / 5 * 4;
        if bytes <= usable {
            return;
        }
        let share = usable as f64 / bytes as f64;
        refusals.push(Refusal::Memory {
            needed: format_bytes(bytes as f64),
            available: format_bytes(self.host.memory_available_bytes as f64),
            fitting: (self.dashboards() as f64 * share) as u64,
        });
    }

    fn check_writes(&self, layout: &Layout, refusals: &mut Vec<Refusal>) {
        // More cores than CPUs add descriptor tables but no speed.
        let cpus = layout.engine_cpus.as_ref().map_or(1, Vec::len);
        let cores = layout.engine_cores.min(cpus) as u64;
        let carried = cores as f64 * WRITES_PER_CORE_PER_S;
        let writes = self.implied.writes_per_s;
        if cores == 0 || self.layout_request.force || writes <= carried {
            return;
        }
        let share = carried / writes;
        let rates = self.scenario.publishers.iter().map(|group| group.rate.per_second());
        let rate = rates.fold(0.0, f64::max) * share;
        refusals.push(Refusal::Writes {
            writes: format_count(writes),
            cores,
            carried: format_count(carried),
            fitting: (self.dashboards() as f64 * share) as u64,
            rate: if rate >= 1.0 { format!("{:.0}", rate.floor()) } else { format!("{rate:.2}") },
            needed: (writes / WRITES_PER_CORE_PER_S).ceil() as u64,
        });
    }

    fn dashboards(&self) -> u64 {
        overlaid::audience(self.scenario).iter().map(|group| u64::from(group.count)).sum()
    }
}

/// Every address of 127.0.0.0/8 is local; 127.1.x.y avoids the addresses that others listen on.
fn loopback_sources(count: u64) -> Vec<IpAddr> {
    let first = u32::from(Ipv4Addr::new(127, 1, 0, 1));
    (first..).take(count as usize).map(|bits| Ipv4Addr::from(bits).into()).collect()
}

fn histogram_bytes(scenario: &Scenario, layout: &Layout) -> u64 {
    let classes = overlaid::audience(scenario).len() as u64;
    let of_classes = classes * (2 + Course::of(scenario).reported_laps() as u64);
    // Two histograms per class (service and end-to-end), one per window, and three merged ones of
    // the spread.
    let per_subscriber_thread = of_classes + 1;
    let threads = layout.subscriber_threads as u64;
    let publishing = layout.publisher_threads as u64 * 2;
    (threads * per_subscriber_thread + publishing + of_classes + 4) * BYTES_PER_HISTOGRAM
}

fn memory_bytes(implied: &Implied) -> u64 {
    (implied.subscriber_sockets + implied.publisher_sockets) * BYTES_PER_SOCKET
        + implied.clogged_sockets * BYTES_PER_CLOGGED_SOCKET
        + implied.verified_pairs * BYTES_PER_PAIR
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::builtin;

    fn host() -> HostLimits {
        HostLimits {
            descriptors_per_table: 20_000,
            descriptors_of_system: 10_000_000,
            ports_per_source: 28_232,
            memory_available_bytes: 24 << 30,
            cpus: vec![0, 1],
        }
    }

    fn scenario(name: &str) -> Scenario {
        Scenario::parse(builtin::find(name).unwrap().text).unwrap()
    }

    fn frequency_map(viewers: u32, fps: &str) -> Scenario {
        let mut scenario = scenario("public-frequency-map");
        scenario.subscribers[0].count = viewers;
        scenario.publishers[0].rate = fps.parse().unwrap();
        scenario
    }

    fn refusals(
        scenario: &Scenario,
        host: &HostLimits,
        layout_request: &LayoutRequest,
    ) -> Vec<String> {
        let refused = fit(scenario, host, layout_request, TargetKind::Embedded).unwrap_err();
        refused.iter().map(Refusal::to_string).collect()
    }

    #[test]
    fn two_cpus_are_split_between_engine_and_generator() {
        let budget =
            fit(&scenario("quickstart"), &host(), &LayoutRequest::default(), TargetKind::Embedded)
                .unwrap();
        let layout = budget.layout;
        assert_eq!((layout.engine_cpus, layout.generator_cpus), (Some(vec![0]), Some(vec![1])));
        assert_eq!((layout.engine_cores, layout.subscriber_threads), (1, 1));
        assert_eq!(layout.publisher_threads, 1);
        assert!(layout.sources.is_empty());
        assert_eq!(budget.descriptors_per_thread, 2_200);
    }

    #[test]
    fn every_builtin_but_the_largest_fits_two_cpus() {
        for builtin in builtin::ALL {
            let scenario = Scenario::parse(builtin.text).unwrap();
            let fits =
                fit(&scenario, &host(), &LayoutRequest::default(), TargetKind::Embedded).is_ok();
            assert_eq!(fits, builtin.name != "public-frequency-map", "{}", builtin.name);
        }
    }

    #[test]
    fn private_tables_and_loopback_addresses_are_added_as_needed() {
        let scenario = frequency_map(60_000, "1");
        let budget =
            fit(&scenario, &host(), &LayoutRequest::default(), TargetKind::Embedded).unwrap();
        assert_eq!(budget.layout.subscriber_threads, 4);
        assert_eq!(budget.layout.engine_cores, 4);
        assert_eq!(budget.layout.sources.len(), 6, "less than half of the 28,232 ports of each");
        assert_eq!(budget.layout.source_of(7), Some("127.1.0.2".parse().unwrap()));
    }

    #[test]
    fn too_few_threads_for_the_descriptors_are_refused_with_the_right_number() {
        let layout_request =
            LayoutRequest { threads: Some(1), engine_cores: Some(2), ..LayoutRequest::default() };
        let found = refusals(&frequency_map(60_000, "1"), &host(), &layout_request);
        assert!(found[0].contains("use --threads 4,"), "{found:?}");
        assert!(found[1].contains("use --engine-cores 4,"), "{found:?}");
    }

    #[test]
    fn open_files_of_the_system_are_counted_at_both_ends() {
        let host = HostLimits { descriptors_of_system: 100_000, ..host() };
        let found = refusals(&frequency_map(60_000, "1"), &host, &LayoutRequest::default());
        assert_eq!(
            found,
            ["120002 open files are needed, the system allows 100000; \
              run `sysctl -w fs.file-max=120002`"]
        );
    }

    #[test]
    fn a_distant_target_needs_addresses_of_ours() {
        let far = TargetKind::Server("10.0.0.5".parse().unwrap());
        let mut scenario = frequency_map(60_000, "1");
        let refused = fit(&scenario, &host(), &LayoutRequest::default(), far).unwrap_err();
        let text = refused[0].to_string();
        assert!(text.contains("3 address(es) are needed"), "{text}");
        assert!(text.contains("--source-ip") && text.contains("ip_local_port_range"), "{text}");
        scenario.target.source_ips = vec!["10.0.0.8/29".parse().unwrap()];
        let layout = fit(&scenario, &host(), &LayoutRequest::default(), far).unwrap().layout;
        assert_eq!((layout.sources.len(), layout.engine_cores), (6, 0));
    }

    #[test]
    fn more_memory_than_there_is_is_refused_with_a_size_that_fits() {
        let host = HostLimits { memory_available_bytes: 256 << 20, ..host() };
        let found = refusals(&frequency_map(60_000, "1"), &host, &LayoutRequest::default());
        assert!(found[0].contains("lower --subscribers to about 20772"), "{found:?}");
    }

    #[test]
    fn more_writes_than_a_core_carries_are_refused_unless_forced() {
        let found = refusals(&frequency_map(60_000, "10"), &host(), &LayoutRequest::default());
        assert!(found[0].contains("600 k socket writes/s"), "{found:?}");
        assert!(found[0].contains("--subscribers 20000 or --rate 3"), "{found:?}");
        assert!(found[0].contains("--engine-cores 3"), "{found:?}");
        let forced = LayoutRequest { force: true, ..LayoutRequest::default() };
        let scenario = frequency_map(60_000, "10");
        assert!(fit(&scenario, &host(), &forced, TargetKind::Embedded).is_ok());
    }

    #[test]
    fn cpus_that_are_not_ours_are_refused() {
        let layout_request = LayoutRequest { cpus: Some(vec![1, 9]), ..LayoutRequest::default() };
        let found = refusals(&scenario("quickstart"), &host(), &layout_request);
        assert!(found[0].starts_with("--cpus 9 is not among"), "{found:?}");
    }

    #[test]
    fn an_engine_that_is_told_to_take_too_few_connections_is_refused_with_the_cure() {
        let scenario = scenario("quickstart");
        let request = |connections| LayoutRequest {
            engine_connections: Some(connections),
            ..LayoutRequest::default()
        };
        let found = refusals(&scenario, &host(), &request(2_019));
        assert!(found[0].contains("use --engine-set limits.connections_max="), "{found:?}");
        assert!(fit(&scenario, &host(), &request(2_020), TargetKind::Embedded).is_ok());
        let elsewhere = TargetKind::Server([10, 0, 0, 1].into());
        assert!(fit(&scenario, &host(), &request(1), elsewhere).is_ok(), "its limits are its own");
        let budget =
            fit(&scenario, &host(), &LayoutRequest::default(), TargetKind::Embedded).unwrap();
        assert_eq!(budget.engine_connections(), 2_020 + 505 + 64);
    }
}
