//! `gridload doctor` over made-up kernels, and over this one as scripts meet it.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking, as tests do")]

use std::fs;
use std::path::Path;
use std::process::Command;

use gridload::cli::options::RunOptions;
use gridload::cli::overrides;
use gridload::doctor::facts::Facts;
use gridload::doctor::limit::{Limit, Remedy, State};
use gridload::doctor::{examine, fits, repair, text};
use gridload::observe::kernel_files::KernelFiles;
use gridload::scenario::scenario::Scenario;

/// A host as distributions install it, with four CPUs.
const USUAL: [(&str, &str); 16] = [
    ("proc/self/limits", "Max open files            1024                 20000         files\n"),
    ("proc/meminfo", "MemTotal: 33554432 kB\nMemAvailable:   25165824 kB\n"),
    ("proc/sys/fs/file-max", "9000000"),
    ("proc/sys/fs/file-nr", "2400\t0\t9000000"),
    ("proc/sys/fs/nr_open", "1048576"),
    ("proc/sys/net/core/netdev_max_backlog", "1000"),
    ("proc/sys/net/core/somaxconn", "4096"),
    ("proc/sys/net/ipv4/ip_local_port_range", "32768\t60999"),
    ("proc/sys/net/ipv4/tcp_max_syn_backlog", "2048"),
    ("proc/sys/net/ipv4/tcp_mem", "287901\t383868\t575802"),
    ("proc/sys/net/ipv4/tcp_rmem", "4096\t131072\t33554432"),
    ("proc/sys/net/ipv4/tcp_wmem", "4096\t16384\t4194304"),
    ("sys/devices/system/clocksource/clocksource0/current_clocksource", "tsc"),
    ("sys/devices/system/cpu/smt/active", "0"),
    ("sys/devices/system/node/online", "0"),
    ("sys/kernel/mm/transparent_hugepage/enabled", "always [madvise] never"),
];

struct Host {
    root: tempfile::TempDir,
}

impl Host {
    fn usual() -> Host {
        let host = Host { root: tempfile::tempdir().unwrap() };
        USUAL.iter().for_each(|(path, text)| host.set(path, text));
        host
    }

    fn set(&self, path: &str, text: &str) {
        let path = self.root.path().join(path);
        fs::create_dir_all(path.parent().unwrap_or(Path::new("/"))).unwrap();
        fs::write(path, text).unwrap();
    }

    fn files(&self) -> KernelFiles {
        KernelFiles::below(self.root.path().to_owned())
    }

    fn facts(&self) -> Facts {
        let mut facts = Facts::read(&self.files());
        facts.limits.cpus = vec![0, 1, 2, 3];
        facts
    }

    fn examine(&self, subscribers: u32) -> Vec<Limit> {
        let (scenario, options) = load(subscribers);
        examine(&scenario, &options, &self.facts()).unwrap()
    }
}

/// One frame in five seconds, so that nothing but the number of connections matters.
fn load(subscribers: u32) -> (Scenario, RunOptions) {
    let options = RunOptions {
        subscribers: Some(subscribers),
        rate: Some("0.2".parse().unwrap()),
        ..RunOptions::default()
    };
    (overrides::resolve("substation", &options).unwrap(), options)
}

fn named<'l>(limits: &'l [Limit], name: &str) -> &'l Limit {
    limits.iter().find(|limit| limit.name == name).unwrap_or_else(|| panic!("no {name}"))
}

fn state(limits: &[Limit], name: &str) -> State {
    named(limits, name).state
}

#[test]
fn a_usual_host_carries_a_few_thousand() {
    let limits = Host::usual().examine(5_000);
    let wrong: Vec<_> = limits.iter().filter(|limit| limit.state != State::Ok).collect();
    let [soft] = wrong[..] else { panic!("{wrong:?}") };
    assert_eq!((soft.name, soft.state), ("open files, soft", State::Advice));
    assert_eq!(soft.remedy, Some(Remedy::SoftLimit { files: 20_000 }));
    assert!(fits(&limits), "a run raises the soft limit itself");
    let names: Vec<_> = limits.iter().map(|limit| limit.name).collect();
    assert!(!names.contains(&"net.netfilter.nf_conntrack_max"), "nothing is tracked: {names:?}");
}

#[test]
fn what_many_need_is_said_with_the_command_that_gives_it() {
    let host = Host::usual();
    host.set("proc/sys/fs/file-max", "100000");
    host.set("proc/sys/net/netfilter/nf_conntrack_count", "44");
    host.set("proc/sys/net/netfilter/nf_conntrack_max", "65536");
    host.set("proc/sys/net/ipv4/tcp_mem", "1000 2000 300000");
    let limits = host.examine(100_000);
    assert!(!fits(&limits));
    let command = |name: &str| named(&limits, name).remedy.as_ref().unwrap().command();
    assert_eq!(state(&limits, "fs.file-max"), State::TooLow);
    // Both ends of 100,000 subscribers and a publisher, the files of now, and as much again.
    assert_eq!(command("fs.file-max"), "sysctl -w fs.file-max=404804");
    let conntrack = command("net.netfilter.nf_conntrack_max");
    assert_eq!(conntrack, "sysctl -w net.netfilter.nf_conntrack_max=200090");
    assert_eq!(state(&limits, "net.ipv4.tcp_mem"), State::Advice);
    assert_eq!(command("net.ipv4.tcp_mem"), "sysctl -w net.ipv4.tcp_mem=\"200002 266669 400004\"");
    assert_eq!(state(&limits, "open files, hard"), State::Advice, "threads have their own tables");
    assert!(command("open files, hard").starts_with("prlimit --pid $$ --nofile="));
    assert_eq!(state(&limits, "net.ipv4.ip_local_port_range"), State::Ok, "127.1.0.0/16 has more");
}

#[test]
fn a_distant_server_takes_ports_of_ours() {
    let options = RunOptions {
        subscribers: Some(60_000),
        target: Some(gridload::scenario::target::parse_target_url("ws://192.0.2.1:9400").unwrap()),
        ..RunOptions::default()
    };
    let scenario = overrides::resolve("substation", &options).unwrap();
    let limits = examine(&scenario, &options, &Host::usual().facts()).unwrap();
    let ports = named(&limits, "net.ipv4.ip_local_port_range");
    assert_eq!((ports.state, ports.current.as_str()), (State::TooLow, "28,232 ports"));
    let command = ports.remedy.as_ref().unwrap().command();
    assert_eq!(command, "sysctl -w net.ipv4.ip_local_port_range=\"1024 65535\"");
    assert_eq!(named(&limits, "source addresses").needed, "3");
    let cpus = named(&limits, "CPUs of server and generator");
    assert!(cpus.remedy.as_ref().unwrap().command().contains("--cpus"), "{cpus:?}");
}

#[test]
fn what_makes_results_unsteady_is_advice() {
    let host = Host::usual();
    for (path, text) in [
        ("sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "powersave"),
        ("sys/devices/system/cpu/intel_pstate/no_turbo", "0"),
        ("sys/devices/system/cpu/smt/active", "1"),
        ("sys/devices/system/node/online", "0-1"),
        ("sys/kernel/mm/transparent_hugepage/enabled", "[always] madvise never"),
        ("sys/devices/system/clocksource/clocksource0/current_clocksource", "hpet"),
        ("sys/devices/system/clocksource/clocksource0/available_clocksource", "kvm-clock hpet"),
        ("sys/fs/cgroup/cpu.max", "150000 100000"),
        ("proc/sys/net/core/somaxconn", "64"),
        ("proc/sys/net/core/netdev_max_backlog", "300"),
        ("proc/sys/net/ipv4/tcp_wmem", "4096 16384 20000"),
    ] {
        host.set(path, text);
    }
    let limits = host.examine(1_000);
    for name in [
        "frequency governor",
        "turbo",
        "SMT",
        "NUMA nodes",
        "transparent huge pages",
        "clocksource",
        "control group's CPU quota",
        "net.core.somaxconn",
        "net.core.netdev_max_backlog",
        "net.ipv4.tcp_wmem",
    ] {
        let limit = named(&limits, name);
        assert!(limit.state == State::Advice && limit.remedy.is_some(), "{limit:?}");
    }
    assert_eq!(named(&limits, "clocksource").needed, "kvm-clock");
    assert!(fits(&limits), "advice does not stop a run");
}

#[test]
fn one_cpu_cannot_both_serve_and_measure() {
    let mut facts = Host::usual().facts();
    facts.limits.cpus = vec![0];
    let (scenario, options) = load(1_000);
    let limits = examine(&scenario, &options, &facts).unwrap();
    assert_eq!(state(&limits, "CPUs of server and generator"), State::TooLow);
}

#[test]
fn more_than_memory_or_a_core_carries_does_not_fit() {
    let host = Host::usual();
    host.set("proc/meminfo", "MemTotal: 900000 kB\nMemAvailable: 262144 kB\n");
    host.set("sys/fs/cgroup/memory.max", "104857600");
    let options = RunOptions { subscribers: Some(60_000), ..RunOptions::default() };
    let scenario = overrides::resolve("substation", &options).unwrap();
    let limits = examine(&scenario, &options, &host.facts()).unwrap();
    for name in ["memory", "control group's memory", "socket writes of the engine"] {
        assert_eq!(state(&limits, name), State::TooLow, "{name}");
    }
}

#[test]
fn a_repair_changes_settings_and_says_what_it_left() {
    let host = Host::usual();
    host.set("proc/sys/fs/file-max", "1000");
    host.set("proc/sys/net/netfilter/nf_conntrack_count", "0");
    host.set("proc/sys/net/netfilter/nf_conntrack_max", "100");
    let mut limits = host.examine(1_000);
    // The soft limit would be that of whoever runs the tests.
    limits.retain(|limit| limit.name != "open files, soft");
    limits.push(
        Limit::ok("turbo", "on", "off")
            .rated(State::Advice)
            .with_remedy(Remedy::Command("echo 1 > no_turbo".to_owned()), ""),
    );
    limits.push(
        Limit::ok("fs.nr_open", "1", "2")
            .rated(State::TooLow)
            .with_remedy(Remedy::Sysctl { name: "no.such", value: "2".to_owned() }, ""),
    );
    let told = repair::repair(&limits, &host.files());
    assert_eq!(told.len(), 4, "{told:?}");
    assert!(told[0].starts_with("done: sysctl -w fs.file-max="), "{told:?}");
    assert!(told[2].contains("NOT done: echo 1 > no_turbo (this is for you to decide)"));
    assert!(told[3].starts_with("NOT done: sysctl -w no.such=2 (No such file"), "{told:?}");
    assert!(fits(&host.examine(1_000)), "repaired");
    assert_eq!(repair::repair(&[], &host.files()), ["nothing to change"]);
}

#[test]
fn the_text_names_every_command_once_for_a_shell() {
    let host = Host::usual();
    host.set("proc/sys/fs/file-max", "1000");
    let text = text::render(&load(1_000).0, &host.examine(1_000));
    assert!(text.contains("1,000 subscriber and 1 publisher connections do NOT fit"), "{text}");
    assert!(text.contains("TOO LOW") && text.contains("\n  sysctl -w fs.file-max="), "{text}");
    assert!(!text.contains("net.core.somaxconn ("), "what is well has no remedy: {text}");
}

#[test]
fn the_exit_code_says_whether_the_load_fits() {
    let doctor = |args: &[&str]| {
        let output =
            Command::new(env!("CARGO_BIN_EXE_gridload")).arg("doctor").args(args).output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    let (code, text) = doctor(&["quickstart", "--subscribers", "4000000"]);
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains("do NOT fit this host"), "{text}");
    let (_, text) = doctor(&["quickstart", "--subscribers", "10"]);
    assert!(text.contains("net.ipv4.ip_local_port_range"), "{text}");
    assert_eq!(doctor(&["no-such"]).0, Some(2));
}
