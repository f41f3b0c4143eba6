//! The host: reads and raises its limits, pins CPUs, and describes the environment that is stored
//! with every result. Must not decide whether a limit is enough: `budget` does.

use std::collections::BTreeMap;
use std::io;

use procfs::prelude::FromRead;
use procfs::{CpuInfo, Meminfo};
use rustix::process::{
    Resource, Rlimit, Signal, getppid, getrlimit, set_parent_process_death_signal, setrlimit,
};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use serde::Serialize;

use crate::observe::kernel_files::KernelFiles;
use crate::plan::budget::HostLimits;

/// Raises the soft limit of open files to the hard one, for this process and its children.
pub fn raise_descriptor_limit() -> io::Result<()> {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })?;
    Ok(())
}

/// Makes the kernel kill this process when its parent ends. Returns whether the parent still runs.
///
/// # Errors
/// When the operating system refuses.
pub fn tie_to(parent: i32) -> io::Result<bool> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    // The parent may have ended before the signal was requested.
    Ok(getppid().map(|pid| pid.as_raw_nonzero().get()) == Some(parent))
}

/// Reads the limits that a load must fit into.
pub fn limits() -> HostLimits {
    limits_below(&KernelFiles::of_host())
}

/// Reads the limits from other kernel files; the CPUs are those of the calling thread.
pub fn limits_below(files: &KernelFiles) -> HostLimits {
    HostLimits {
        descriptors_per_table: files.open_file_limits().map_or(u64::MAX, |(soft, _)| soft),
        descriptors_of_system: files.number("proc/sys/fs/file-max").unwrap_or(u64::MAX),
        ports_per_source: port_range(files).unwrap_or(DEFAULT_PORTS),
        memory_available_bytes: files.memory_available_bytes().unwrap_or(u64::MAX),
        cpus: allowed_cpus(),
    }
}

/// The CPUs the calling thread may run on.
pub fn allowed_cpus() -> Vec<usize> {
    match sched_getaffinity(None) {
        Ok(set) => (0..CpuSet::MAX_CPU).filter(|cpu| set.is_set(*cpu)).collect(),
        Err(_) => vec![0],
    }
}

/// CPUs of a server and of the generator that measures it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partition {
    /// The server's.
    pub server: Vec<usize>,
    /// The generator's.
    pub generator: Vec<usize>,
}

impl Partition {
    /// Half of the CPUs this process may run on for each. A single CPU is shared by both, and every
    /// run on it is reported as invalid.
    pub fn of_host() -> Partition {
        let cpus = allowed_cpus();
        let (server, generator) = cpus.split_at(cpus.len() / 2);
        let server = if server.is_empty() { generator } else { server };
        Partition { server: server.to_vec(), generator: generator.to_vec() }
    }
}

/// CPUs in the syntax of the command line.
pub fn cpu_list(cpus: &[usize]) -> String {
    cpus.iter().map(usize::to_string).collect::<Vec<_>>().join(",")
}

/// Pins the calling thread, and the threads it starts later, to these CPUs.
pub fn pin(cpus: &[usize]) -> io::Result<()> {
    let mut set = CpuSet::new();
    for cpu in cpus.iter().filter(|cpu| **cpu < CpuSet::MAX_CPU) {
        set.set(*cpu);
    }
    sched_setaffinity(None, &set)?;
    Ok(())
}

/// Size of the default `net.ipv4.ip_local_port_range`, 32768 to 60999.
const DEFAULT_PORTS: u64 = 28_232;

fn port_range(files: &KernelFiles) -> Option<u64> {
    match files.numbers("proc/sys/net/ipv4/ip_local_port_range")[..] {
        [low, high] => high.checked_sub(low).map(|span| span + 1),
        _ => None,
    }
}

/// The environment in which a result was obtained. Values the kernel does not provide are absent.
#[derive(Debug, Clone, Serialize)]
pub struct Environment {
    /// The same for identical hosts: a hash of all values below that do not change between runs.
    pub host_fingerprint: String,
    /// Kernel release.
    pub kernel: Option<String>,
    /// CPU model.
    pub cpu: Option<String>,
    /// CPUs online.
    pub cpus: usize,
    /// Microcode revision.
    pub microcode: Option<String>,
    /// Frequency governor of the first CPU.
    pub governor: Option<String>,
    /// `1` if sibling threads share cores.
    pub smt: Option<String>,
    /// Transparent huge pages.
    pub thp: Option<String>,
    /// NUMA nodes online.
    pub numa: Option<String>,
    /// The clock source of all timestamps.
    pub clocksource: Option<String>,
    /// Whether the host is a virtual machine.
    pub hypervisor: bool,
    /// Installed memory, bytes.
    pub memory_bytes: Option<u64>,
    /// Open files per descriptor table, soft limit.
    pub nofile: Option<u64>,
    /// The same, hard limit.
    pub nofile_hard: Option<u64>,
    /// CPU quota of the control group, if any.
    pub cgroup_cpu_max: Option<String>,
    /// Memory limit of the control group, if any.
    pub cgroup_memory_max: Option<String>,
    /// Kernel settings that affect results.
    pub sysctls: BTreeMap<&'static str, String>,
}

const SYSCTLS: [&str; 12] = [
    "fs/file-max",
    "fs/nr_open",
    "net/core/netdev_max_backlog",
    "net/core/rmem_max",
    "net/core/somaxconn",
    "net/core/wmem_max",
    "net/ipv4/ip_local_port_range",
    "net/ipv4/tcp_congestion_control",
    "net/ipv4/tcp_max_syn_backlog",
    "net/ipv4/tcp_mem",
    "net/ipv4/tcp_rmem",
    "net/ipv4/tcp_wmem",
];

impl Environment {
    /// Reads the description of this host.
    pub fn read() -> Environment {
        Environment::below(&KernelFiles::of_host())
    }

    /// Reads the description from other kernel files; the CPUs are those of the calling thread.
    pub fn below(files: &KernelFiles) -> Environment {
        let (nofile, nofile_hard) = files.open_file_limits().unzip();
        let limited = |limit: Option<u64>| limit.filter(|limit| *limit < u64::MAX);
        let cpu_info = CpuInfo::from_file(files.path("proc/cpuinfo")).ok();
        let cpu_field = |field: &str| cpu_info.as_ref()?.get_field(0, field).map(str::to_owned);
        let memory = Meminfo::from_file(files.path("proc/meminfo")).ok();
        let mut environment = Environment {
            host_fingerprint: String::new(),
            kernel: files.sysctl("kernel/osrelease"),
            cpu: cpu_field("model name"),
            cpus: allowed_cpus().len(),
            microcode: cpu_field("microcode"),
            governor: files.line("sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
            smt: files.line("sys/devices/system/cpu/smt/active"),
            thp: files.line("sys/kernel/mm/transparent_hugepage/enabled"),
            numa: files.line("sys/devices/system/node/online"),
            clocksource: files
                .line("sys/devices/system/clocksource/clocksource0/current_clocksource"),
            hypervisor: cpu_field("flags").is_some_and(|f| f.contains("hypervisor")),
            memory_bytes: memory.map(|memory| memory.mem_total),
            nofile: limited(nofile),
            nofile_hard: limited(nofile_hard),
            cgroup_cpu_max: files.line("sys/fs/cgroup/cpu.max"),
            cgroup_memory_max: files.line("sys/fs/cgroup/memory.max"),
            sysctls: sysctls(files),
        };
        environment.host_fingerprint = environment.fingerprint();
        environment
    }

    fn fingerprint(&self) -> String {
        // The soft limit has already been raised when this is read, and it does not affect results.
        let lasting = (
            (&self.kernel, &self.cpu, self.cpus, &self.microcode, &self.governor),
            (&self.smt, &self.thp, &self.numa, &self.clocksource, self.hypervisor),
            (self.memory_bytes, self.nofile_hard, &self.cgroup_cpu_max, &self.sysctls),
        );
        format!("{:016x}", fnv1a(format!("{lasting:?}").as_bytes()))
    }
}

/// FNV-1a: its values stay the same in all versions of this program, unlike those of the standard
/// library's hashes.
fn fnv1a(bytes: &[u8]) -> u64 {
    let mix = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, mix)
}

fn sysctls(files: &KernelFiles) -> BTreeMap<&'static str, String> {
    SYSCTLS.into_iter().filter_map(|name| Some((name, files.sysctl(name)?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_of_this_host_are_plausible() {
        raise_descriptor_limit().unwrap();
        let limits = limits();
        assert!(limits.descriptors_per_table >= 64 && limits.ports_per_source > 0);
        assert!(!limits.cpus.is_empty() && limits.memory_available_bytes > 0);
        let nofile = getrlimit(Resource::Nofile);
        assert_eq!(nofile.current, nofile.maximum);
    }

    #[test]
    fn the_fingerprint_tells_hosts_apart_and_not_runs() {
        let here = Environment::read();
        assert_eq!(here.host_fingerprint, Environment::read().host_fingerprint);
        let other = Environment { cpus: here.cpus + 1, ..here.clone() };
        assert_ne!(other.fingerprint(), here.host_fingerprint);
    }

    #[test]
    fn pinning_to_the_allowed_cpus_changes_nothing() {
        let before = allowed_cpus();
        pin(&before).unwrap();
        assert_eq!(allowed_cpus(), before);
    }
}
