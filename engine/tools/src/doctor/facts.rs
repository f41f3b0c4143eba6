//! What is so on this host, read at once, so that the judgement is a pure function of it. Must not
//! judge.

use std::fs;
use std::path::Path;
use std::thread::available_parallelism;

/// Files of daemons that set the clock, by what they say.
const CLOCK_FILES: [(&str, &str); 5] = [
    ("run/systemd/timesync/synchronized", "set by systemd-timesyncd"),
    ("run/chrony/chronyd.pid", "chronyd runs"),
    ("run/chronyd.pid", "chronyd runs"),
    ("run/ntpd.pid", "ntpd runs"),
    ("run/ntpsec/ntpd.pid", "ntpd runs"),
];

/// See the file header. What the kernel does not tell is none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// CPUs of this process: the server has a core on each.
    pub cpus: u64,
    /// Open files of a process: the soft limit, and the hard one, to which a server raises it.
    pub open_files: Option<(u64, u64)>,
    /// Open files of the system, now and at most.
    pub system_files: Option<(u64, u64)>,
    /// `net.core.somaxconn`.
    pub listen_queue: Option<u64>,
    /// `net.ipv4.tcp_max_syn_backlog`.
    pub syn_queue: Option<u64>,
    /// `net.ipv4.tcp_rmem`: least, default, most, bytes.
    pub receive_buffers: Option<[u64; 3]>,
    /// `net.ipv4.tcp_wmem`.
    pub send_buffers: Option<[u64; 3]>,
    /// `net.ipv4.tcp_mem`: low, pressure, most, pages.
    pub tcp_pages: Option<[u64; 3]>,
    /// `net.ipv4.ip_local_port_range`.
    pub ports: Option<[u64; 2]>,
    /// Tracked connections, now and at most.
    pub tracked: Option<(u64, u64)>,
    /// Memory that is available without swapping, and the rest of the control group's, bytes.
    pub memory: Option<u64>,
    /// What sets the clock.
    pub clock: Option<&'static str>,
}

impl Facts {
    /// Reads everything below `root`, which is `/`.
    #[must_use]
    pub fn read(root: &Path) -> Self {
        let text = |path: &str| fs::read_to_string(root.join(path)).ok();
        let numbers = |path: &str| -> Vec<u64> {
            let text = text(path).unwrap_or_default();
            text.split_whitespace().filter_map(|number| number.parse().ok()).collect()
        };
        let number = |path: &str| numbers(path).first().copied();
        let three = |path: &str| <[u64; 3]>::try_from(numbers(path)).ok();
        let most_files = number("proc/sys/fs/file-max");
        let tracked = number("proc/sys/net/netfilter/nf_conntrack_count");
        let is_there = |(path, _): &&(&str, &str)| root.join(path).exists();
        Self {
            cpus: available_parallelism().map_or(1, |cpus| cpus.get() as u64),
            open_files: text("proc/self/limits").as_deref().and_then(open_files),
            system_files: number("proc/sys/fs/file-nr").zip(most_files),
            listen_queue: number("proc/sys/net/core/somaxconn"),
            syn_queue: number("proc/sys/net/ipv4/tcp_max_syn_backlog"),
            receive_buffers: three("proc/sys/net/ipv4/tcp_rmem"),
            send_buffers: three("proc/sys/net/ipv4/tcp_wmem"),
            tcp_pages: three("proc/sys/net/ipv4/tcp_mem"),
            ports: numbers("proc/sys/net/ipv4/ip_local_port_range").try_into().ok(),
            tracked: tracked.zip(number("proc/sys/net/netfilter/nf_conntrack_max")),
            memory: memory(text("proc/meminfo"), group(&text)),
            clock: CLOCK_FILES.iter().find(is_there).map(|(_, what)| *what),
        }
    }
}

/// What is left of the memory of the control group; none where it has no limit.
fn group(text: &impl Fn(&str) -> Option<String>) -> Option<u64> {
    let number = |path| text(path)?.trim().parse::<u64>().ok();
    let most = number("sys/fs/cgroup/memory.max")?;
    Some(most.saturating_sub(number("sys/fs/cgroup/memory.current").unwrap_or(0)))
}

fn memory(meminfo: Option<String>, group: Option<u64>) -> Option<u64> {
    let meminfo = meminfo?;
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
    let host = kib.saturating_mul(1024);
    Some(group.map_or(host, |group| group.min(host)))
}

/// Reads `Max open files  1024  4096  files`.
fn open_files(limits: &str) -> Option<(u64, u64)> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    let mut numbers = line.split_whitespace().map(|limit| match limit {
        "unlimited" => Some(u64::MAX),
        number => number.parse().ok(),
    });
    numbers.next()?.zip(numbers.next()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_are_read_below_a_root_and_what_is_not_there_is_none() {
        let root = tempfile::tempdir().unwrap();
        let empty = Facts::read(root.path());
        assert_eq!(Facts { cpus: empty.cpus, ..Facts::default() }, empty);
        for (path, text) in [
            ("proc/self/limits", "Max open files   1024   unlimited   files\n"),
            ("proc/meminfo", "MemTotal: 9 kB\nMemAvailable:   2048 kB\n"),
            ("proc/sys/net/core/somaxconn", "128\n"),
            ("proc/sys/net/ipv4/tcp_wmem", "4096\t16384\t4194304\n"),
            ("sys/fs/cgroup/memory.max", "1048576\n"),
            ("run/chrony/chronyd.pid", "7\n"),
        ] {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let facts = Facts::read(root.path());
        assert_eq!(facts.open_files, Some((1024, u64::MAX)));
        assert_eq!((facts.memory, facts.listen_queue), (Some(1 << 20), Some(128)));
        assert_eq!(facts.send_buffers, Some([4096, 16384, 4_194_304]));
        assert_eq!(facts.clock, Some("chronyd runs"));
    }
}
