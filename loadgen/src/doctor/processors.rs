//! The limits of CPUs and clocks, which make results slower or less steady. Pure; must not read the
//! host.

use crate::doctor::case::Case;
use crate::doctor::limit::{Limit, Remedy, State};
use crate::observe::host::cpu_list;
use crate::plan::budget::Refusal;

/// Clock sources that are read without a system call.
const QUICK_CLOCKS: [&str; 4] =
    ["tsc", "kvm-clock", "hyperv_clocksource_tsc_page", "arch_sys_counter"];
const CLOCK_FILE: &str = "/sys/devices/system/clocksource/clocksource0/current_clocksource";

/// The rows.
pub fn limits(case: &Case<'_>) -> Vec<Limit> {
    let mut limits = vec![partition(case)];
    limits.extend(writes(case));
    limits.extend(quota(case));
    limits.push(governor(case));
    limits.push(turbo(case));
    limits.push(siblings(case));
    limits.extend(huge_pages(case));
    limits.extend(nodes(case));
    limits.extend(clocksource(case));
    // Publishers and subscribers always run in one process on one host.
    limits.push(Limit::ok("clocks of publishers and subscribers", "1", "1"));
    limits
}

fn partition(case: &Case<'_>) -> Limit {
    let layout = &case.budget.layout;
    let name = "CPUs of server and generator";
    let listed = |cpus: &Option<Vec<usize>>| cpus.as_deref().map(cpu_list);
    match (listed(&layout.engine_cpus), listed(&layout.generator_cpus)) {
        (Some(engine), Some(generator)) => {
            Limit::ok(name, format!("{engine} and {generator}"), "not the same")
        }
        (None, Some(generator)) if layout.engine_cores == 0 => {
            Limit::ok(name, format!("the server's own and {generator}"), "not the same")
        }
        _ if layout.engine_cores == 0 => {
            let limit = Limit::ok(name, "not set", "not the same").rated(State::Advice);
            limit.with_remedy(
                Remedy::Command("gridload run … --cpus LIST, those the server does not use".into()),
                "a server on this host must not share its CPUs with what measures it",
            )
        }
        _ => {
            let limit = Limit::ok(name, "shared", "not the same").rated(State::TooLow);
            limit.with_remedy(
                Remedy::Command("taskset -c 0-1 gridload run …, or --target elsewhere".into()),
                "a generator that waits for the server's CPU measures itself",
            )
        }
    }
}

fn writes(case: &Case<'_>) -> Option<Limit> {
    let name = "socket writes of the engine";
    let refused = case.refused(|refusal| match refusal {
        Refusal::Writes { writes, carried, fitting, rate, .. } => Some((
            format!("about {carried}/s"),
            format!("{writes}/s"),
            format!("gridload run … --subscribers {fitting}, or --rate {rate}"),
        )),
        _ => None,
    });
    let (current, needed, command) = refused?;
    Some(Limit::ok(name, current, needed).rated(State::TooLow).with_remedy(
        Remedy::Command(command),
        "what the CPUs of the embedded engine carry; --force tries it all the same",
    ))
}

fn quota(case: &Case<'_>) -> Option<Limit> {
    let text = case.facts.environment.cgroup_cpu_max.as_deref()?;
    let cpus = case.facts.limits.cpus.len() as f64;
    let name = "control group's CPU quota";
    let needed = format!("{cpus} CPUs");
    let (quota, period) = text.split_once(' ')?;
    let Ok(quota) = quota.parse::<f64>() else { return Some(Limit::ok(name, "none", needed)) };
    let allowed = quota / period.parse::<f64>().ok()?;
    let state = if allowed < cpus { State::Advice } else { State::Ok };
    Some(Limit::ok(name, format!("{allowed:.2} CPUs"), needed).rated(state).with_remedy(
        Remedy::Command("echo max > /sys/fs/cgroup/cpu.max".to_owned()),
        "a throttled run is invalid",
    ))
}

fn governor(case: &Case<'_>) -> Limit {
    let name = "frequency governor";
    let Some(governor) = &case.facts.environment.governor else {
        return Limit::ok(name, "none to see", "performance");
    };
    let state = if governor == "performance" { State::Ok } else { State::Advice };
    Limit::ok(name, governor, "performance").rated(state).with_remedy(
        Remedy::Command(
            "echo performance | tee /sys/devices/system/cpu/cpu*/cpufreq/scaling_governor".into(),
        ),
        "a CPU that slows down between ticks is slow at each of them",
    )
}

fn turbo(case: &Case<'_>) -> Limit {
    let name = "turbo";
    let Some(is_on) = case.facts.turbo else { return Limit::ok(name, "none to see", "off") };
    let (current, state) = if is_on { ("on", State::Advice) } else { ("off", State::Ok) };
    Limit::ok(name, current, "off").rated(state).with_remedy(
        Remedy::Command(
            "echo 1 > /sys/devices/system/cpu/intel_pstate/no_turbo \
             || echo 0 > /sys/devices/system/cpu/cpufreq/boost"
                .to_owned(),
        ),
        "speed then depends on what other CPUs do",
    )
}

fn siblings(case: &Case<'_>) -> Limit {
    let is_on = case.facts.environment.smt.as_deref() == Some("1");
    let (current, state) = if is_on { ("on", State::Advice) } else { ("off", State::Ok) };
    Limit::ok("SMT", current, "off").rated(state).with_remedy(
        Remedy::Command("echo off > /sys/devices/system/cpu/smt/control".to_owned()),
        "two CPUs of one core slow each other down",
    )
}

fn huge_pages(case: &Case<'_>) -> Option<Limit> {
    let text = case.facts.environment.thp.as_deref()?;
    let current = text.split(['[', ']']).nth(1)?;
    let state = if current == "always" { State::Advice } else { State::Ok };
    Some(Limit::ok("transparent huge pages", current, "madvise").rated(state).with_remedy(
        Remedy::Command("echo madvise > /sys/kernel/mm/transparent_hugepage/enabled".to_owned()),
        "memory per connection is then counted in pages of 2 MiB",
    ))
}

fn nodes(case: &Case<'_>) -> Option<Limit> {
    let text = case.facts.environment.numa.as_deref()?;
    let state = if text == "0" { State::Ok } else { State::Advice };
    Some(Limit::ok("NUMA nodes", text, "0").rated(state).with_remedy(
        Remedy::Command("numactl --cpunodebind=0 --membind=0 gridload run …".to_owned()),
        "memory of another node is slower",
    ))
}

fn clocksource(case: &Case<'_>) -> Option<Limit> {
    let current = case.facts.environment.clocksource.as_deref()?;
    let is_quick = QUICK_CLOCKS.contains(&current);
    let better = case.facts.clocksources.iter().find(|name| QUICK_CLOCKS.contains(&name.as_str()));
    let better = better.map_or("tsc", String::as_str);
    let (needed, state) = if is_quick { (current, State::Ok) } else { (better, State::Advice) };
    Some(Limit::ok("clocksource", current, needed).rated(state).with_remedy(
        Remedy::Command(format!("echo {better} > {CLOCK_FILE}")),
        "every frame is timed; another clock costs a system call each time",
    ))
}
