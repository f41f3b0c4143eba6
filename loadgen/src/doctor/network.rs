//! The limits of connections: descriptors, ports and queues. Pure; must not read the host.

use crate::doctor::case::Case;
use crate::doctor::limit::{Limit, Remedy, State, shown};
use crate::plan::budget::{DESCRIPTORS_KEPT, Refusal};
use crate::plan::fleet::bytes_per_socket_per_s;
use crate::time::units::{format_bytes, format_exact};

/// The kernel's default of frames that wait for one CPU.
const DEVICE_BACKLOG: u64 = 1000;
/// The smallest recommended accept queue.
const ACCEPT_BACKLOG_MIN: u64 = 128;
/// An accepting server may be delayed for one tenth of a second.
const AWAY_PER_S: u64 = 10;
/// The smallest recommended buffer of a socket.
const BUFFER_BYTES_MIN: u64 = 64 * 1024;

/// The rows.
pub fn limits(case: &Case<'_>) -> Vec<Limit> {
    let mut limits = vec![soft_descriptors(case)];
    limits.extend(nr_open(case));
    limits.extend([hard_descriptors(case), system_files(case)]);
    limits.extend(engine_connections(case));
    limits.extend([ports(case), sources(case)]);
    limits.extend(conntrack(case));
    limits.extend(accept_queues(case));
    limits.extend(device_backlog(case));
    limits.extend(buffers(case));
    limits
}

/// A run raises its soft limit to the hard limit itself; a server started by hand may not.
fn soft_descriptors(case: &Case<'_>) -> Limit {
    let hard = case.facts.limits.descriptors_per_table;
    let needed = one_table(case).min(hard);
    Limit::at_least("open files, soft", case.facts.nofile_soft, needed, State::Advice).with_remedy(
        Remedy::SoftLimit { files: hard },
        "a run raises it itself, a server that you start may not",
    )
}

/// Threads have their own descriptor tables, so a low limit requires more threads before it limits
/// the sockets.
fn hard_descriptors(case: &Case<'_>) -> Limit {
    let hard = case.facts.limits.descriptors_per_table;
    let refused = case.refused(|refusal| match refusal {
        Refusal::Descriptors { remedy, .. } => Some(remedy.clone()),
        _ => None,
    });
    if let Some(flag) = refused {
        let limit = Limit::ok("open files, hard", shown(hard), format!("{flag} private tables"));
        return limit.rated(State::TooLow).with_remedy(
            Remedy::Command(format!("gridload run … {flag}")),
            "each thread has a table of its own, and these are too few",
        );
    }
    let needed = per_table(case);
    Limit::at_least("open files, hard", hard, needed, State::Advice).with_remedy(
        Remedy::Command(format!("prlimit --pid $$ --nofile={needed}:{needed}")),
        "threads beyond the CPUs are added to hold all sockets in tables of their own",
    )
}

fn nr_open(case: &Case<'_>) -> Option<Limit> {
    let current = case.facts.number("fs/nr_open")?;
    let needed = per_table(case);
    Some(Limit::at_least("fs.nr_open", current, needed, State::Advice).with_remedy(
        Remedy::Sysctl { name: "fs.nr_open", value: needed.to_string() },
        "no table can be made larger than this",
    ))
}

fn system_files(case: &Case<'_>) -> Limit {
    let current = case.facts.limits.descriptors_of_system;
    let needed = case.ends() + case.facts.files_open;
    Limit::at_least("fs.file-max", current, needed, State::TooLow).with_remedy(
        Remedy::Sysctl { name: "fs.file-max", value: (needed * 2).to_string() },
        "open files of the whole system, those of now included",
    )
}

/// The engine that a run starts is told to take what the load has, unless `--engine-set` says less.
fn engine_connections(case: &Case<'_>) -> Option<Limit> {
    let is_embedded = case.budget.layout.engine_cores > 0;
    let refused = case.refused(|refusal| match refusal {
        Refusal::EngineConnections { allowed, needed, .. } => Some((*allowed, *needed)),
        _ => None,
    });
    let why = "an engine refuses what is beyond it with 503";
    let needed = shown(case.budget.engine_connections());
    let Some((allowed, enough)) = refused else {
        let current = "as many as needed".to_owned();
        return is_embedded.then(|| Limit::ok(ENGINE_CONNECTIONS, current, needed));
    };
    let flag = format!("gridload run … --engine-set limits.connections_max={enough}");
    let limit = Limit::ok(ENGINE_CONNECTIONS, shown(allowed), needed);
    Some(limit.rated(State::TooLow).with_remedy(Remedy::Command(flag), why))
}

const ENGINE_CONNECTIONS: &str = "engine, limits.connections_max";

/// The descriptors if all were in one table, as in a server with a single process.
fn one_table(case: &Case<'_>) -> u64 {
    case.sockets() + DESCRIPTORS_KEPT
}

/// The descriptors of the fullest table, with one table per CPU.
fn per_table(case: &Case<'_>) -> u64 {
    let layout = &case.budget.layout;
    let cpus_of =
        |cpus: &Option<Vec<usize>>| cpus.as_ref().map_or(case.facts.limits.cpus.len(), Vec::len);
    let share = |sockets: u64, cpus: usize| sockets.div_ceil(cpus.max(1) as u64);
    let generator = cpus_of(&layout.generator_cpus).saturating_sub(layout.publisher_threads);
    let subscribers = share(case.budget.implied.subscriber_sockets, generator);
    let engine = match layout.engine_cores {
        0 => 0,
        _ => share(case.sockets(), cpus_of(&layout.engine_cpus)),
    };
    subscribers.max(engine) + DESCRIPTORS_KEPT
}

fn ports(case: &Case<'_>) -> Limit {
    let sources = case.budget.layout.sources.len().max(1) as u64;
    let needed = case.budget.implied.subscriber_sockets.div_ceil(sources);
    let needed = format!("{} each of {} address(es)", format_exact(needed), format_exact(sources));
    let current = format!("{} ports", format_exact(case.facts.limits.ports_per_source));
    let is_refused = refused_sources(case).is_some();
    let state = if is_refused { State::TooLow } else { State::Ok };
    Limit::ok("net.ipv4.ip_local_port_range", current, needed).rated(state).with_remedy(
        Remedy::Sysctl { name: "net.ipv4.ip_local_port_range", value: "1024 65535".to_owned() },
        "a source address has this many connections to one server",
    )
}

fn sources(case: &Case<'_>) -> Limit {
    let chosen = case.budget.layout.sources.len();
    let current = match chosen {
        0 => "1, the kernel's choice".to_owned(),
        count => format_exact(count as u64),
    };
    let Some(needed) = refused_sources(case) else {
        return Limit::ok("source addresses", current, format_exact(chosen.max(1) as u64));
    };
    Limit::ok("source addresses", current, format_exact(needed)).rated(State::TooLow).with_remedy(
        Remedy::Command("gridload run … --source-ip ADDRESS[/BITS], for each this host has".into()),
        "a source address has this many connections to one server",
    )
}

fn refused_sources(case: &Case<'_>) -> Option<u64> {
    case.refused(|refusal| match refusal {
        Refusal::Ports { needed, .. } => Some(*needed),
        _ => None,
    })
}

fn conntrack(case: &Case<'_>) -> Option<Limit> {
    let (tracked, most) = case.facts.conntrack?;
    let needed = tracked + case.sockets();
    Some(
        Limit::at_least("net.netfilter.nf_conntrack_max", most, needed, State::TooLow).with_remedy(
            Remedy::Sysctl {
                name: "net.netfilter.nf_conntrack_max",
                value: (needed * 2).to_string(),
            },
            "a full table drops new connections; loopback is tracked too",
        ),
    )
}

fn accept_queues(case: &Case<'_>) -> Vec<Limit> {
    let ramp: u64 = case.scenario.subscribers.iter().map(|g| u64::from(g.ramp_per_s)).sum();
    let needed = (ramp.min(case.sockets()) / AWAY_PER_S).max(ACCEPT_BACKLOG_MIN);
    let queues = [
        ("net.core.somaxconn", "net/core/somaxconn"),
        ("net.ipv4.tcp_max_syn_backlog", "net/ipv4/tcp_max_syn_backlog"),
    ];
    let limit = |(name, key): (&'static str, &str)| {
        let current = case.facts.number(key)?;
        Some(Limit::at_least(name, current, needed, State::Advice).with_remedy(
            Remedy::Sysctl { name, value: needed.to_string() },
            "connections of a tenth of a second of the ramp wait here; others come a second later",
        ))
    };
    queues.into_iter().filter_map(limit).collect()
}

fn device_backlog(case: &Case<'_>) -> Option<Limit> {
    let current = case.facts.number("net/core/netdev_max_backlog")?;
    let limit =
        Limit::at_least("net.core.netdev_max_backlog", current, DEVICE_BACKLOG, State::Advice);
    Some(limit.with_remedy(
        Remedy::Sysctl { name: "net.core.netdev_max_backlog", value: DEVICE_BACKLOG.to_string() },
        "packets that wait for a CPU; those beyond are dropped and sent again",
    ))
}

/// Half a second of one socket's traffic should fit into the buffers of either end.
fn buffers(case: &Case<'_>) -> Vec<Limit> {
    let groups = case.scenario.subscribers.iter();
    let fullest = groups.map(|group| bytes_per_socket_per_s(case.scenario, group)).max();
    let needed = (fullest.unwrap_or(0) / 2).max(BUFFER_BYTES_MIN);
    let sides =
        [("net.ipv4.tcp_rmem", "net/ipv4/tcp_rmem"), ("net.ipv4.tcp_wmem", "net/ipv4/tcp_wmem")];
    let limit = |(name, key): (&'static str, &str)| {
        let [least, default, most] = case.facts.triple(key)?;
        let state = if most < needed { State::Advice } else { State::Ok };
        let current = format!("{} at most", format_bytes(most as f64));
        let value = format!("{least} {default} {needed}");
        let limit = Limit::ok(name, current, format_bytes(needed as f64)).rated(state);
        Some(limit.with_remedy(
            Remedy::Sysctl { name, value },
            "half a second of one connection's frames fits, so that a short stall loses nothing",
        ))
    };
    sides.into_iter().filter_map(limit).collect()
}
