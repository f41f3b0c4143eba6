//! What would limit so many connections on a host, and what to do about it. Pure: must not read the
//! host.

use super::facts::Facts;

/// Files that are open beside connections, and those kept for probes, of each core.
const FILES_KEPT: u64 = 128;
/// Memory of a caught-up connection: its sockets in the kernel, and with TLS what the engine needs.
const BYTES_PER_CONNECTION: u64 = 14 * 1024;
/// A server may be busy with something else for a tenth of a second.
const BUSY_PER_S: u64 = 10;
/// The smallest queues and buffers that are not found fault with.
const QUEUE_MIN: u64 = 128;
const BUFFER_BYTES_MIN: u64 = 256 * 1024;
/// The ports of a proxy or bridge on this host.
const PORTS_MIN: u64 = 28_000;

/// How a limit is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It is enough.
    Ok,
    /// It works, but another value would be better; or nobody knows.
    Advice,
    /// It is not enough.
    TooLow,
}

/// A row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limit {
    /// Its name.
    pub name: &'static str,
    /// What is.
    pub here: String,
    /// What is needed.
    pub needed: String,
    /// How it is.
    pub state: State,
    /// Why it matters.
    pub why: &'static str,
    /// The command or setting that changes it.
    pub remedy: String,
}

/// What is asked of the host.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// Connections.
    pub subscribers: u64,
    /// Connections that come in a second.
    pub arrivals: u64,
}

/// All rows that this host tells of.
#[must_use]
pub fn limits(facts: &Facts, load: Load) -> Vec<Limit> {
    let rows = [
        open_files(facts, load),
        system_files(facts, load),
        tracked(facts, load),
        queue("net.core.somaxconn", facts.listen_queue, load),
        queue("net.ipv4.tcp_max_syn_backlog", facts.syn_queue, load),
        buffer("net.ipv4.tcp_rmem", facts.receive_buffers),
        buffer("net.ipv4.tcp_wmem", facts.send_buffers),
        tcp_pages(facts, load),
        ports(facts),
        memory(facts, load),
        Some(clock(facts)),
    ];
    rows.into_iter().flatten().collect()
}

/// How many connections the descriptors and the memory of a host are enough for.
#[must_use]
pub fn fitting(facts: &Facts) -> Option<u64> {
    let files = facts.open_files.map(|(_, hard)| per_core(hard).saturating_mul(facts.cpus));
    let memory = facts.memory.map(|bytes| bytes / 5 * 4 / BYTES_PER_CONNECTION);
    [files, memory].into_iter().flatten().min()
}

fn per_core(hard: u64) -> u64 {
    hard.saturating_sub(FILES_KEPT)
}

fn row(name: &'static str, (here, needed): (u64, u64), otherwise: State) -> Limit {
    let state = if here >= needed { State::Ok } else { otherwise };
    let here = if here > 1 << 62 { "unlimited".to_owned() } else { here.to_string() };
    let needed = needed.to_string();
    Limit { name, here, needed, state, why: "", remedy: String::new() }
}

fn sysctl(name: &str, value: impl std::fmt::Display) -> String {
    format!("sysctl -w {name}=\"{value}\"")
}

/// Each core has a table of descriptors of its own, and raises its soft limit to the hard one.
fn open_files(facts: &Facts, load: Load) -> Option<Limit> {
    let (_, hard) = facts.open_files?;
    let needed = load.subscribers.div_ceil(facts.cpus.max(1)) + FILES_KEPT;
    let row = row("open files (hard), of each core", (hard, needed), State::TooLow);
    let remedy = format!("systemd: LimitNOFILE={needed}; a shell: ulimit -Hn {needed}");
    Some(Limit { remedy, why: "connections beyond it are refused with 503", ..row })
}

fn system_files(facts: &Facts, load: Load) -> Option<Limit> {
    let (open, most) = facts.system_files?;
    let needed = open + load.subscribers;
    let row = row("fs.file-max", (most, needed), State::TooLow);
    let remedy = sysctl("fs.file-max", needed * 2);
    Some(Limit { remedy, why: "open files of the whole system, with those of now", ..row })
}

fn tracked(facts: &Facts, load: Load) -> Option<Limit> {
    let (now, most) = facts.tracked?;
    let needed = now + load.subscribers;
    let name = "net.netfilter.nf_conntrack_max";
    let row = row(name, (most, needed), State::TooLow);
    let remedy = sysctl(name, needed * 2);
    Some(Limit { remedy, why: "a full table drops new connections", ..row })
}

fn queue(name: &'static str, here: Option<u64>, load: Load) -> Option<Limit> {
    let needed = (load.arrivals.min(load.subscribers) / BUSY_PER_S).max(QUEUE_MIN);
    let row = row(name, (here?, needed), State::TooLow);
    let why = "who comes in a tenth of a second waits here; others come a second later";
    Some(Limit { remedy: sysctl(name, needed), why, ..row })
}

fn buffer(name: &'static str, here: Option<[u64; 3]>) -> Option<Limit> {
    let [least, usual, most] = here?;
    let row = row(name, (most, BUFFER_BYTES_MIN), State::Advice);
    let remedy = sysctl(name, format!("{least} {usual} {BUFFER_BYTES_MIN}"));
    let why = "what a short stall of a client's network leaves waiting, in bytes";
    Some(Limit { remedy, why, ..row })
}

fn tcp_pages(facts: &Facts, load: Load) -> Option<Limit> {
    let [low, pressure, most] = facts.tcp_pages?;
    let row = row("net.ipv4.tcp_mem", (most, load.subscribers), State::TooLow);
    let (pressure, most) = (pressure.max(load.subscribers), most.max(load.subscribers * 2));
    let remedy = sysctl("net.ipv4.tcp_mem", format!("{low} {pressure} {most}"));
    Some(Limit { remedy, why: "pages of all sockets; beyond it the kernel drops", ..row })
}

fn ports(facts: &Facts) -> Option<Limit> {
    let [first, last] = facts.ports?;
    let here = (last + 1).saturating_sub(first);
    let name = "net.ipv4.ip_local_port_range";
    let row = row(name, (here, PORTS_MIN), State::Advice);
    let why = "connections of a proxy on this host to the server, for each address";
    Some(Limit { remedy: sysctl(name, "1024 65535"), why, ..row })
}

fn memory(facts: &Facts, load: Load) -> Option<Limit> {
    let needed = load.subscribers * BYTES_PER_CONNECTION / 4 * 5;
    let available = facts.memory?;
    let row = row("memory", (available, needed), State::TooLow);
    let [here, needed] = [available, needed].map(|bytes| format!("{} MiB", bytes >> 20));
    let fits = fitting(facts).unwrap_or(0);
    let remedy = format!("more memory, or --subscribers {fits}; logs come on top");
    Some(Limit { here, needed, remedy, why: "of sockets and TLS; a fifth is kept free", ..row })
}

fn clock(facts: &Facts) -> Limit {
    let state = if facts.clock.is_some() { State::Ok } else { State::Advice };
    Limit {
        name: "clock",
        here: facts.clock.unwrap_or("nobody known sets it").to_owned(),
        needed: "set by NTP or PTP".to_owned(),
        state,
        why: "aligned ticks, ends of tokens and times of history go by it",
        remedy: "systemctl enable --now systemd-timesyncd, or chrony".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> Facts {
        Facts {
            cpus: 2,
            open_files: Some((1024, 20_000)),
            system_files: Some((1000, 1_000_000)),
            listen_queue: Some(4096),
            memory: Some(8 << 30),
            ports: Some([32_768, 60_999]),
            clock: Some("chronyd runs"),
            ..Facts::default()
        }
    }

    fn too_low(subscribers: u64) -> Vec<&'static str> {
        let limits = limits(&facts(), Load { subscribers, arrivals: 5000 });
        let limits = limits.into_iter().filter(|limit| limit.state == State::TooLow);
        limits.map(|limit| limit.name).collect()
    }

    #[test]
    fn what_would_limit_a_load_is_named_and_nothing_else() {
        assert!(too_low(10_000).is_empty());
        assert_eq!(too_low(39_744), [] as [&str; 0]);
        assert_eq!(too_low(39_746), ["open files (hard), of each core"]);
        assert_eq!(too_low(10_000_000).len(), 3);
        assert_eq!(fitting(&facts()), Some(39_744));
    }

    #[test]
    fn a_host_that_tells_nothing_is_only_asked_for_its_clock() {
        let limits = limits(&Facts::default(), Load { subscribers: 1, arrivals: 1 });
        assert_eq!(limits.len(), 1);
        assert_eq!((limits[0].name, limits[0].state), ("clock", State::Advice));
    }
}
