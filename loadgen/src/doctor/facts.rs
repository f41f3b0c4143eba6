//! The facts about a host that matter for a load. They are read at once, so that the judgement is a
//! pure function of them. Must not judge.

use crate::observe::host;
use crate::observe::host::Environment;
use crate::observe::kernel_files::KernelFiles;
use crate::plan::budget::HostLimits;

/// The facts about a host at one instant.
#[derive(Debug, Clone)]
pub struct Facts {
    /// The host limits for the budget, with the open-file limit as a run will have it: a run raises
    /// its soft limit itself.
    pub limits: HostLimits,
    /// The description stored with every result.
    pub environment: Environment,
    /// The soft limit of open files before it is raised.
    pub nofile_soft: u64,
    /// Open files in the whole system.
    pub files_open: u64,
    /// Tracked connections now and at most; `None` without connection tracking.
    pub conntrack: Option<(u64, u64)>,
    /// Whether CPUs may exceed their nominal frequency; `None` if the kernel does not say.
    pub turbo: Option<bool>,
    /// The clock sources the kernel could use.
    pub clocksources: Vec<String>,
}

impl Facts {
    /// Reads everything.
    pub fn read(files: &KernelFiles) -> Facts {
        let (nofile_soft, nofile_hard) = files.open_file_limits().unwrap_or((u64::MAX, u64::MAX));
        let limits = host::limits_below(files);
        let clocks = files.line(AVAILABLE_CLOCKS).unwrap_or_default();
        Facts {
            limits: HostLimits { descriptors_per_table: nofile_hard, ..limits },
            environment: Environment::below(files),
            nofile_soft,
            files_open: files.numbers("proc/sys/fs/file-nr").first().copied().unwrap_or(0),
            conntrack: files.number(CONNTRACK_COUNT).zip(files.number(CONNTRACK_MAX)),
            turbo: turbo(files),
            clocksources: clocks.split_whitespace().map(str::to_owned).collect(),
        }
    }

    /// A kernel setting with one number.
    pub fn number(&self, sysctl: &str) -> Option<u64> {
        self.environment.sysctls.get(sysctl)?.parse().ok()
    }

    /// A kernel setting with three numbers.
    pub fn triple(&self, sysctl: &str) -> Option<[u64; 3]> {
        let text = self.environment.sysctls.get(sysctl)?;
        let numbers: Vec<_> = text.split(' ').filter_map(|number| number.parse().ok()).collect();
        numbers.try_into().ok()
    }
}

const AVAILABLE_CLOCKS: &str = "sys/devices/system/clocksource/clocksource0/available_clocksource";
const CONNTRACK_COUNT: &str = "proc/sys/net/netfilter/nf_conntrack_count";
const CONNTRACK_MAX: &str = "proc/sys/net/netfilter/nf_conntrack_max";

/// Two drivers report it differently, one of them inverted.
fn turbo(files: &KernelFiles) -> Option<bool> {
    let boost = files.number("sys/devices/system/cpu/cpufreq/boost").map(|on| on != 0);
    let off = files.number("sys/devices/system/cpu/intel_pstate/no_turbo");
    boost.or_else(|| off.map(|off| off == 0))
}
