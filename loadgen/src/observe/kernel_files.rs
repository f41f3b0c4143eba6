//! Reads and writes kernel files in `/proc` and `/sys`, below a root that tests can replace. Must
//! not judge what it reads.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::PathBuf;

/// The kernel files below a root.
#[derive(Debug, Clone)]
pub struct KernelFiles {
    root: PathBuf,
}

impl KernelFiles {
    /// The files of this host.
    pub fn of_host() -> KernelFiles {
        KernelFiles::below(PathBuf::from("/"))
    }

    /// A directory tree with the same structure.
    pub fn below(root: PathBuf) -> KernelFiles {
        KernelFiles { root }
    }

    /// The path of a file; `path` begins with `proc/` or `sys/`.
    pub fn path(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }

    /// A file as one line with single spaces. `None` if the kernel has no such file or does not
    /// permit reading.
    pub fn line(&self, path: &str) -> Option<String> {
        let text = fs::read_to_string(self.path(path)).ok()?;
        Some(text.split_whitespace().collect::<Vec<_>>().join(" "))
    }

    /// A file that holds a number.
    pub fn number(&self, path: &str) -> Option<u64> {
        self.line(path)?.parse().ok()
    }

    /// A file that holds several numbers.
    pub fn numbers(&self, path: &str) -> Vec<u64> {
        let line = self.line(path).unwrap_or_default();
        line.split(' ').filter_map(|number| number.parse().ok()).collect()
    }

    /// A setting of the kernel: `net.core.somaxconn` or `net/core/somaxconn`.
    pub fn sysctl(&self, name: &str) -> Option<String> {
        self.line(&sysctl_path(name))
    }

    /// Changes a setting of the kernel.
    ///
    /// # Errors
    /// The error of the kernel.
    pub fn set_sysctl(&self, name: &str, value: &str) -> io::Result<()> {
        // The file is not created: a setting that does not exist must not look as if it did.
        let file =
            OpenOptions::new().write(true).truncate(true).open(self.path(&sysctl_path(name)));
        file?.write_all(format!("{value}\n").as_bytes())
    }

    /// The soft and the hard limit of open files of this process.
    pub fn open_file_limits(&self) -> Option<(u64, u64)> {
        open_file_limits(&fs::read_to_string(self.path("proc/self/limits")).ok()?)
    }

    /// Memory available without swapping, bytes.
    pub fn memory_available_bytes(&self) -> Option<u64> {
        memory_available_bytes(&fs::read_to_string(self.path("proc/meminfo")).ok()?)
    }
}

fn sysctl_path(name: &str) -> String {
    format!("proc/sys/{}", name.replace('.', "/"))
}

/// Reads `Max open files  1024  4096  files`.
fn open_file_limits(text: &str) -> Option<(u64, u64)> {
    let line = text.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    let mut limits = line.split_whitespace().map(|limit| match limit {
        "unlimited" => Some(u64::MAX),
        number => number.parse().ok(),
    });
    limits.next()?.zip(limits.next()?)
}

/// Reads `MemAvailable:  24000000 kB`.
fn memory_available_bytes(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    Some(line.split_whitespace().next()?.parse::<u64>().ok()? * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_and_memory_are_found_in_their_files() {
        let text = "Limit   Soft Limit  Hard Limit  Units\nMax processes  5  6  processes\n\
                    Max open files            1024                 unlimited            files\n";
        assert_eq!(open_file_limits(text), Some((1024, u64::MAX)));
        assert_eq!(open_file_limits("Max open files  many  1 files"), None);
        let text = "MemTotal:  9 kB\nMemAvailable:   2048 kB\n";
        assert_eq!(memory_available_bytes(text), Some(2 << 20));
        assert_eq!(memory_available_bytes("MemTotal:  9 kB\n"), None);
    }

    #[test]
    fn settings_are_read_and_changed_below_the_root() {
        let root = tempfile::tempdir().unwrap();
        let files = KernelFiles::below(root.path().to_owned());
        assert!(files.set_sysctl("net.core.somaxconn", "9").is_err(), "nothing is made up");
        fs::create_dir_all(root.path().join("proc/sys/net/core")).unwrap();
        fs::write(root.path().join("proc/sys/net/core/somaxconn"), "128\t7\n").unwrap();
        assert_eq!(files.sysctl("net/core/somaxconn").as_deref(), Some("128 7"));
        assert_eq!(files.numbers("proc/sys/net/core/somaxconn"), [128, 7]);
        files.set_sysctl("net.core.somaxconn", "4096").unwrap();
        assert_eq!(files.number("proc/sys/net/core/somaxconn"), Some(4096));
    }

    #[test]
    fn this_host_has_limits_and_memory() {
        let files = KernelFiles::of_host();
        assert!(files.open_file_limits().is_some_and(|(soft, hard)| soft <= hard && hard > 0));
        assert!(files.memory_available_bytes().is_some_and(|bytes| bytes > 0));
    }
}
