//! The changes of `--fix`: kernel settings and the soft limit of the calling shell. Reports line by
//! line what was changed and what was not. Must not judge what is needed.

use rustix::process::{Resource, Rlimit, getppid, getrlimit, prlimit};

use crate::doctor::limit::{Limit, Remedy};
use crate::observe::kernel_files::KernelFiles;

/// Applies every permitted remedy, and reports the result of each.
pub fn repair(limits: &[Limit], files: &KernelFiles) -> Vec<String> {
    let remedies = limits.iter().filter_map(|limit| limit.remedy.as_ref());
    let results: Vec<_> = remedies.map(|remedy| apply(remedy, files)).collect();
    if results.is_empty() { vec!["nothing to change".to_owned()] } else { results }
}

fn apply(remedy: &Remedy, files: &KernelFiles) -> String {
    let done = match remedy {
        Remedy::Sysctl { name, value } => {
            files.set_sysctl(name, value).map_err(|error| error.to_string())
        }
        Remedy::SoftLimit { files } => raise_for_shell(*files),
        Remedy::Command(_) => Err("this is for you to decide".to_owned()),
    };
    match done {
        Ok(()) => format!("done: {}", remedy.command()),
        Err(reason) => format!("NOT done: {} ({reason})", remedy.command()),
    }
}

/// A soft limit belongs to one process, so the limit of the calling shell is changed: its later
/// commands inherit it.
fn raise_for_shell(files: u64) -> Result<(), String> {
    let Some(shell) = getppid() else { return Err("there is no calling process".to_owned()) };
    let maximum = getrlimit(Resource::Nofile).maximum;
    let raised = Rlimit { current: Some(files), maximum };
    let set = prlimit(Some(shell), Resource::Nofile, raised);
    set.map(drop).map_err(|error| error.to_string())
}
