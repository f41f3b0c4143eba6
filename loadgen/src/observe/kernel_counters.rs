//! Kernel counters of the measured process, if a run asks for them: system calls, allocations, and
//! instructions in user space. Owns these counters and the reasons why one is missing. Must not
//! judge their values.
//!
//! They work with any server, even one without metrics, but they have a cost. While they run,
//! system calls of the whole host take the kernel's slow path, and each one of the measured process
//! takes some 0.1 µs more; each allocation takes a trap, some 2 µs.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::CString;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::sync::Arc;

use perf_event::events::{Event, EventData, Hardware, Tracepoint};
use perf_event::{Builder, Counter};
use perf_event_open_sys::bindings::perf_event_attr;
use procfs::process::Process;

use crate::observe::allocator;
use crate::observe::allocator::Entry;
use crate::observe::kernel_files::KernelFiles;
use crate::observe::server_counters::Counters;

/// Why a counter is missing, by its name.
pub type Reasons = BTreeMap<&'static str, String>;

/// Running counters of a process: of its threads, and of all threads these start later.
#[derive(Debug, Default)]
pub struct KernelCounters {
    running: BTreeMap<&'static str, Running>,
    missing: Reasons,
}

/// The counters of one event.
#[derive(Debug)]
struct Running {
    counters: Vec<Counter>,
    /// The process and its threads, if threads started later are not counted.
    only: Option<(i32, BTreeSet<i32>)>,
}

impl KernelCounters {
    /// Starts the counters of a process that this host allows.
    pub fn of(pid: Option<u32>) -> KernelCounters {
        KernelCounters::below(&KernelFiles::of_host(), pid)
    }

    /// Starts the counters with other kernel files.
    pub fn below(files: &KernelFiles, pid: Option<u32>) -> KernelCounters {
        let mut counters = KernelCounters::default();
        for (name, recipe) in COUNTS {
            match started(recipe, files, pid) {
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

    /// The counts since the start, for all running counters.
    pub fn read(&mut self) -> Counters {
        let mut counts = Counters::new();
        for (name, running) in &mut self.running {
            match running.total() {
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

    /// Why the other counters are missing.
    pub fn missing(&self) -> &Reasons {
        &self.missing
    }
}

/// The difference of two readings; `None` where one of them lacks the counter.
pub fn between(from: &Counters, to: &Counters) -> Counters {
    let grown = |(name, now): (&&'static str, &u64)| {
        let before = from.get(name)?;
        Some((*name, now.checked_sub(*before)?))
    };
    to.iter().filter_map(grown).collect()
}

/// How to count an event of a process; the thread is set later.
type Recipe = fn(&KernelFiles, i32) -> Result<Ingredients, String>;

/// The events that are counted together.
struct Ingredients {
    builders: Vec<Builder<'static>>,
    /// Whether threads that start later are counted too.
    is_inherited: bool,
}

const COUNTS: [(&str, Recipe); 3] =
    [("syscalls", syscalls), ("allocations", allocations), ("instructions", instructions)];

/// Counts all system calls, at the tracepoint that every one of them passes.
fn syscalls(files: &KernelFiles, _: i32) -> Result<Ingredients, String> {
    let number = |root: &str| files.number(&format!("{root}/events/raw_syscalls/sys_enter/id"));
    let id = TRACE_ROOTS.into_iter().find_map(number);
    let id = id.ok_or("they are not shown: be root, and mount tracefs on /sys/kernel/tracing")?;
    let mut builder = Builder::new(Tracepoint::with_id(id));
    // The tracepoint is in the kernel, so kernel events must be included.
    builder.exclude_kernel(false);
    Ok(Ingredients { builders: vec![builder], is_inherited: true })
}

/// Counts allocations, at each function of the allocator. It is not inherited by new threads: for
/// each new thread the kernel reads the file name again from the memory of the starting thread; the
/// name is not there, so the thread could not start (Linux 6.18).
fn allocations(files: &KernelFiles, pid: i32) -> Result<Ingredients, String> {
    let kind = files.number(PROBES).and_then(|kind| u32::try_from(kind).ok());
    let kind = kind.ok_or("this kernel cannot count calls of a function (CONFIG_UPROBES)")?;
    let at = |Entry { file, offset }| {
        let file = CString::new(file.into_os_string().into_vec());
        let file =
            file.map_err(|_| "the kernel cannot be told the name of the allocator's file")?;
        let mut builder = Builder::new(Call { kind, file: Arc::new(file), offset });
        // The trap of a uprobe runs in the kernel.
        builder.exclude_kernel(false);
        Ok(builder)
    };
    let builders =
        allocator::entries_of(pid)?.into_iter().map(at).collect::<Result<_, String>>()?;
    Ok(Ingredients { builders, is_inherited: false })
}

/// A call of the function at an offset in a file: see `kprobe and uprobe PMU` in
/// perf_event_open(2).
struct Call {
    kind: u32,
    file: Arc<CString>,
    offset: u64,
}

impl Event for Call {
    fn update_attrs(self, attr: &mut perf_event_attr) {
        attr.type_ = self.kind;
        attr.probe_offset = self.offset;
    }

    fn update_attrs_with_data(self, attr: &mut perf_event_attr) -> Option<Arc<dyn EventData>> {
        // The builder keeps the name for as long as the kernel may read it.
        let file = Arc::clone(&self.file);
        attr.uprobe_path = file.as_ptr() as u64;
        self.update_attrs(attr);
        Some(file)
    }
}

/// Counts user space only, because the kernel's work for a server varies with time.
fn instructions(_: &KernelFiles, _: i32) -> Result<Ingredients, String> {
    let mut builder = Builder::new(Hardware::INSTRUCTIONS);
    builder.exclude_kernel(true).exclude_hv(true);
    Ok(Ingredients { builders: vec![builder], is_inherited: true })
}

/// Opens counters for each thread. An inherited counter must count a new thread once: either by its
/// own counter or by that of the thread that started it. Therefore no thread may start or end
/// meanwhile.
fn started(recipe: Recipe, files: &KernelFiles, pid: Option<u32>) -> Result<Running, String> {
    let pid = pid.and_then(|pid| i32::try_from(pid).ok());
    let pid = pid.ok_or("the process of the server is not known: give --target-pid")?;
    let Ingredients { mut builders, is_inherited } = recipe(files, pid)?;
    for builder in &mut builders {
        builder.any_cpu().inherit(is_inherited).enabled(true);
    }
    for _ in 0..TRIES {
        let threads = threads_of(pid)?;
        match of_threads(&mut builders, &threads) {
            Ok(counters) if threads_of(pid)? == threads => {
                let only = (!is_inherited).then_some((pid, threads));
                return Ok(Running { counters, only });
            }
            Ok(_) => {}
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => {}
            Err(error) => return Err(refusal(&error)),
        }
    }
    Err("threads of the process come and go all the time".to_owned())
}

fn of_threads(
    builders: &mut [Builder<'static>],
    threads: &BTreeSet<i32>,
) -> io::Result<Vec<Counter>> {
    let mut counters = Vec::with_capacity(builders.len() * threads.len());
    for builder in builders {
        for thread in threads {
            counters.push(builder.observe_pid(*thread).build()?);
        }
    }
    Ok(counters)
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

impl Running {
    /// The sum of all threads.
    fn total(&mut self) -> Result<u64, String> {
        if let Some((pid, threads)) = &self.only
            && threads_of(*pid)? != *threads
        {
            return Err("the server started threads, or ended some, since it is counted: \
                        the kernel counts this of the threads that it had"
                .to_owned());
        }
        self.counters.iter_mut().map(count).sum()
    }
}

fn count(counter: &mut Counter) -> Result<u64, String> {
    let read = counter.read_full().map_err(|error| error.to_string())?;
    let (wanted, had) = (read.time_enabled(), read.time_running());
    // A counter that was multiplexed with others has seen only a part of the time, and an estimate
    // is not a count.
    if had < wanted.map(|wanted| wanted - wanted / TOLERANCE) {
        return Err("the machine has too few counters: something else uses them too".to_owned());
    }
    Ok(read.count())
}

/// The directories where kernels list tracepoints, newer kernels first.
const TRACE_ROOTS: [&str; 2] = ["sys/kernel/tracing", "sys/kernel/debug/tracing"];
/// The file with this kernel's type number for uprobes.
const PROBES: &str = "sys/bus/event_source/devices/uprobe/type";
/// The most attempts. A server that listens has usually started its threads; one that is just
/// starting more finishes soon.
const TRIES: usize = 8;
/// The share of its time that a counter may miss because clocks are coarse.
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
        assert_eq!(names, ["allocations", "instructions", "syscalls"]);
        assert!(counters.missing().values().all(|reason| reason.contains("--target-pid")));
        let mut counters = KernelCounters::of(Some(i32::MAX as u32));
        assert!(counters.read().is_empty() && counters.missing().len() == 3);
    }

    #[test]
    fn the_number_of_the_point_is_looked_for_where_kernels_have_it() {
        let root = tempfile::tempdir().unwrap();
        let files = KernelFiles::below(root.path().to_owned());
        let reason = syscalls(&files, 1).err().unwrap();
        assert!(reason.contains("mount tracefs"), "{reason}");
        let point = root.path().join("sys/kernel/debug/tracing/events/raw_syscalls/sys_enter");
        fs::create_dir_all(&point).unwrap();
        fs::write(point.join("id"), "443\n").unwrap();
        assert!(syscalls(&files, 1).is_ok());
    }

    #[test]
    fn refusals_say_what_to_do() {
        let text = |code| refusal(&io::Error::from_raw_os_error(code));
        assert!(text(libc::ENOENT).contains("no such counter"));
        assert!(text(libc::EACCES).contains("be root"));
        assert!(text(libc::EMFILE).contains("open files"));
    }

    #[test]
    fn what_was_counted_is_what_both_readings_tell() {
        let from = Counters::from([("syscalls", 5), ("instructions", 9)]);
        let to = Counters::from([("syscalls", 12)]);
        assert_eq!(between(&from, &to), Counters::from([("syscalls", 7)]));
        assert!(between(&to, &from).is_empty(), "a counter that fell back was not one");
    }
}
