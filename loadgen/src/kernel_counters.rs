//! What the kernel counts of the measured process where a run asks for it: its system calls, and
//! the instructions it executes in user space. Owns these counters, and why one of them is missing.
//! Must not judge what they say.
//!
//! Any server can be counted so, whatever it tells itself, but not for nothing: while they are
//! counted, system calls take the kernel's slow way, on the whole host, and those of the process
//! cost it some 0.1 µs more.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use perf_event::events::{Hardware, Tracepoint};
use perf_event::{Builder, Counter};
use procfs::process::Process;

use crate::kernel_files::KernelFiles;
use crate::server_counters::Counters;

/// Why something is not counted, by its name.
pub type Reasons = BTreeMap<&'static str, String>;

/// Running counters of a process: of the threads it has, and of all that these will start.
#[derive(Debug, Default)]
pub struct KernelCounters {
    running: BTreeMap<&'static str, Vec<Counter>>,
    missing: Reasons,
}

impl KernelCounters {
    /// Begins to count a process, as far as this host can.
    pub fn of(pid: Option<u32>) -> KernelCounters {
        KernelCounters::below(&KernelFiles::of_host(), pid)
    }

    /// The same by the files of any kernel.
    pub fn below(files: &KernelFiles, pid: Option<u32>) -> KernelCounters {
        let mut counters = KernelCounters::default();
        for (name, event) in EVENTS {
            match started(event, files, pid) {
                Ok(running) => {
                    counters.running.insert(name, running);
                }
                Err(reason) => {
                    counters.missing.insert(name, reason);
                }
            }
        }
        counters
    }

    /// What was counted since the beginning, of what can be counted.
    pub fn read(&mut self) -> Counters {
        let mut counts = Counters::new();
        for (name, running) in &mut self.running {
            match total(running) {
                Ok(count) => {
                    counts.insert(*name, count);
                }
                Err(reason) => {
                    self.missing.insert(*name, reason);
                }
            }
        }
        counts
    }

    /// Why the others are not.
    pub fn missing(&self) -> &Reasons {
        &self.missing
    }
}

/// What was counted from one reading to the other: nothing where one of them lacks it.
pub fn between(from: &Counters, to: &Counters) -> Counters {
    let grown = |(name, now): (&&'static str, &u64)| {
        let before = from.get(name)?;
        Some((*name, now.checked_sub(*before)?))
    };
    to.iter().filter_map(grown).collect()
}

/// How to count something, of a thread yet to be named.
type Event = fn(&KernelFiles) -> Result<Builder<'static>, String>;

const EVENTS: [(&str, Event); 2] = [("syscalls", syscalls), ("instructions", instructions)];

/// Of all system calls, at the one point that each of them passes.
fn syscalls(files: &KernelFiles) -> Result<Builder<'static>, String> {
    let number = |root: &str| files.number(&format!("{root}/events/raw_syscalls/sys_enter/id"));
    let id = TRACE_ROOTS.into_iter().find_map(number);
    let id = id.ok_or("they are not shown: be root, and mount tracefs on /sys/kernel/tracing")?;
    let mut builder = Builder::new(Tracepoint::with_id(id));
    // The point lies in the kernel.
    builder.exclude_kernel(false);
    Ok(builder)
}

/// Of user space alone: what the kernel does for a server depends on the hour.
fn instructions(_: &KernelFiles) -> Result<Builder<'static>, String> {
    let mut builder = Builder::new(Hardware::INSTRUCTIONS);
    builder.exclude_kernel(true).exclude_hv(true);
    Ok(builder)
}

/// A counter for each thread. They count what these start as well, so each thread must be counted
/// by itself or by the one that started it, and not by both: none may come or go meanwhile.
fn started(event: Event, files: &KernelFiles, pid: Option<u32>) -> Result<Vec<Counter>, String> {
    let pid = pid.and_then(|pid| i32::try_from(pid).ok());
    let pid = pid.ok_or("the process of the server is not known: give --target-pid")?;
    let mut builder = event(files)?;
    builder.any_cpu().inherit(true).enabled(true);
    for _ in 0..TRIES {
        let threads = threads_of(pid)?;
        let counters = threads.iter().map(|thread| builder.observe_pid(*thread).build());
        match counters.collect::<io::Result<Vec<_>>>() {
            Ok(counters) if threads_of(pid)? == threads => return Ok(counters),
            Ok(_) => {}
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => {}
            Err(error) => return Err(refusal(&error)),
        }
    }
    Err("threads of the process come and go all the time".to_owned())
}

fn threads_of(pid: i32) -> Result<BTreeSet<i32>, String> {
    let tasks = Process::new(pid).and_then(|process| process.tasks());
    let tasks = tasks.map_err(|_| format!("there is no process {pid}"))?;
    Ok(tasks.flatten().map(|task| task.tid).collect())
}

fn refusal(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(libc::ENOENT | libc::ENODEV | libc::EOPNOTSUPP) => {
            "this machine has no such counter; many virtual machines have none".to_owned()
        }
        Some(libc::EACCES | libc::EPERM) => {
            "the kernel refuses it: be root, or have CAP_PERFMON".to_owned()
        }
        _ => error.to_string(),
    }
}

/// Of all threads.
fn total(counters: &mut [Counter]) -> Result<u64, String> {
    let mut sum = 0;
    for counter in counters {
        let read = counter.read_full().map_err(|error| error.to_string())?;
        let (wanted, had) = (read.time_enabled(), read.time_running());
        // What took turns with others has seen a part only, and an estimate is no count.
        if had < wanted.map(|wanted| wanted - wanted / TOLERANCE) {
            return Err("the machine has too few counters: something else uses them too".to_owned());
        }
        sum += read.count();
    }
    Ok(sum)
}

/// Where the kernel's points are listed, by its age.
const TRACE_ROOTS: [&str; 2] = ["sys/kernel/tracing", "sys/kernel/debug/tracing"];
/// A server that listens has its threads; one that starts more at this very moment has them soon.
const TRIES: usize = 8;
/// The part of its time that a counter may miss by the coarseness of clocks.
const TOLERANCE: u32 = 1_000;

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn what_cannot_be_counted_is_absent_with_its_reason() {
        let mut counters = KernelCounters::of(None);
        assert!(counters.read().is_empty());
        let names: Vec<_> = counters.missing().keys().copied().collect();
        assert_eq!(names, ["instructions", "syscalls"]);
        assert!(counters.missing().values().all(|reason| reason.contains("--target-pid")));
        let mut counters = KernelCounters::of(Some(i32::MAX as u32));
        assert!(counters.read().is_empty() && counters.missing().len() == 2);
    }

    #[test]
    fn the_number_of_the_point_is_looked_for_where_kernels_have_it() {
        let root = tempfile::tempdir().unwrap();
        let files = KernelFiles::below(root.path().to_owned());
        let reason = syscalls(&files).err().unwrap();
        assert!(reason.contains("mount tracefs"), "{reason}");
        let point = root.path().join("sys/kernel/debug/tracing/events/raw_syscalls/sys_enter");
        fs::create_dir_all(&point).unwrap();
        fs::write(point.join("id"), "443\n").unwrap();
        assert!(syscalls(&files).is_ok());
    }

    #[test]
    fn refusals_say_what_to_do() {
        let told = |code| refusal(&io::Error::from_raw_os_error(code));
        assert!(told(libc::ENOENT).contains("no such counter"));
        assert!(told(libc::EACCES).contains("be root"));
        assert!(told(libc::EMFILE).contains("open files"));
    }

    #[test]
    fn what_was_counted_is_what_both_readings_tell() {
        let from = Counters::from([("syscalls", 5), ("instructions", 9)]);
        let to = Counters::from([("syscalls", 12)]);
        assert_eq!(between(&from, &to), Counters::from([("syscalls", 7)]));
        assert!(between(&to, &from).is_empty(), "a counter that fell back was not one");
    }
}
