//! The limits of memory: of the host and of its TCP sockets. Pure; must not read the host.

use crate::doctor::case::Case;
use crate::doctor::limit::{Limit, Remedy, State};
use crate::plan::budget::{BYTES_PER_CLOGGED_SOCKET, Refusal};
use crate::time::units::{format_bytes, format_exact};

/// The page size in which the kernel counts TCP memory on the supported machines.
const PAGE_BYTES: u64 = 4096;

/// The rows.
pub fn limits(case: &Case<'_>) -> Vec<Limit> {
    [Some(available(case)), of_control_group(case), tcp_pages(case)].into_iter().flatten().collect()
}

fn available(case: &Case<'_>) -> Limit {
    let fitting = case.refused(|refusal| match refusal {
        Refusal::Memory { fitting, .. } => Some(*fitting),
        _ => None,
    });
    let current = format_bytes(case.facts.limits.memory_available_bytes as f64);
    let needed = format!("about {}", format_bytes(case.budget.memory_bytes as f64));
    let state = if fitting.is_some() { State::TooLow } else { State::Ok };
    Limit::ok("memory", current, needed).rated(state).with_remedy(
        Remedy::Command(format!("gridload run … --subscribers {}", fitting.unwrap_or(0))),
        "of both ends, user and kernel; a fifth is kept free",
    )
}

fn of_control_group(case: &Case<'_>) -> Option<Limit> {
    let most: u64 = case.facts.environment.cgroup_memory_max.as_ref()?.parse().ok()?;
    let needed = case.budget.memory_bytes;
    let state = if most < needed { State::TooLow } else { State::Ok };
    let [current, wanted] = [most, needed].map(|bytes| format_bytes(bytes as f64));
    Some(Limit::ok("control group's memory", current, wanted).rated(state).with_remedy(
        Remedy::Command(format!("echo {} > /sys/fs/cgroup/memory.max", needed * 5 / 4)),
        "the kernel ends processes of a group that needs more",
    ))
}

/// A page for each end, and the full buffers of sockets that do not read.
fn tcp_pages(case: &Case<'_>) -> Option<Limit> {
    let [low, pressure, most] = case.facts.triple("net/ipv4/tcp_mem")?;
    let clogged = case.budget.implied.clogged_sockets * BYTES_PER_CLOGGED_SOCKET / PAGE_BYTES;
    let needed = case.ends() + clogged;
    let state = match needed {
        needed if needed > most => State::TooLow,
        needed if needed > pressure => State::Advice,
        _ => State::Ok,
    };
    // A setting is only increased, never reduced.
    let [low, middle, high] = [low.max(needed), pressure.max(needed * 4 / 3), most.max(needed * 2)];
    let value = format!("{low} {middle} {high}");
    let current = format!("{} pages", format_exact(pressure));
    let limit = Limit::ok("net.ipv4.tcp_mem", current, format!("{} pages", format_exact(needed)));
    Some(limit.rated(state).with_remedy(
        Remedy::Sysctl { name: "net.ipv4.tcp_mem", value },
        "beyond it the kernel shrinks the buffers of all sockets",
    ))
}
