//! Finds the allocator functions of a process as offsets in files, where the kernel can count
//! calls. Must not count anything.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::{Path, PathBuf};

use object::{Object, ObjectSegment, ObjectSymbol, ReadCache};
use procfs::process::{MMPermissions, MMapPath, Process};

/// The location of a function: a file and an offset.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    /// The file by a path that this process can open, even if the other one has another root
    /// directory.
    pub file: PathBuf,
    /// Offset in the file, bytes.
    pub offset: u64,
}

/// The functions of every allocator that a process has mapped: those of the C library, or of an
/// allocator loaded in its place, which then gets all calls.
///
/// # Errors
/// When none is found: a runtime with a built-in allocator exports no symbol for it.
pub fn entries_of(pid: i32) -> Result<BTreeSet<Entry>, String> {
    let maps = Process::new(pid).and_then(|process| process.maps());
    let maps =
        maps.map_err(|error| format!("what the process has mapped is not shown: {error}"))?;
    let code = |map: procfs::process::MemoryMap| match map.pathname {
        MMapPath::Path(path) if map.perms.contains(MMPermissions::EXECUTE) => Some(path),
        _ => None,
    };
    let files: BTreeSet<PathBuf> = maps.into_iter().filter_map(code).collect();
    let root = PathBuf::from(format!("/proc/{pid}/root"));
    let seen = |path: &PathBuf| root.join(path.strip_prefix("/").unwrap_or(path));
    let entries: BTreeSet<Entry> =
        files.iter().flat_map(|path| entries_in(&seen(path)).unwrap_or_default()).collect();
    if entries.is_empty() {
        return Err("the server has an allocator of its own, not the C library's".to_owned());
    }
    Ok(entries)
}

/// The functions in one file; empty if it is not an ELF file or no longer exists.
fn entries_in(file: &Path) -> Option<Vec<Entry>> {
    let cache = ReadCache::new(File::open(file).ok()?);
    let program = object::File::parse(&cache).ok()?;
    // A statically linked program contains its only allocator.
    let symbols = program.dynamic_symbols().chain(program.symbols());
    let addresses = symbols.filter(is_asked).map(|symbol| symbol.address());
    let entry = |address| Some(Entry { file: file.to_owned(), offset: place(&program, address)? });
    Some(addresses.filter_map(entry).collect())
}

fn is_asked<'d>(symbol: &impl ObjectSymbol<'d>) -> bool {
    symbol.is_definition() && symbol.name().is_ok_and(|name| FUNCTIONS.contains(&name))
}

/// The offset in the file of a program address.
fn place<'d>(program: &impl Object<'d>, address: u64) -> Option<u64> {
    program.segments().find_map(|segment| {
        let (offset, bytes) = segment.file_range();
        let within = address.checked_sub(segment.address())?;
        (within < bytes).then(|| offset + within)
    })
}

/// Each returns memory to its caller, new or enlarged.
const FUNCTIONS: [&str; 6] =
    ["malloc", "calloc", "realloc", "aligned_alloc", "memalign", "posix_memalign"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_program_asks_the_c_library() {
        let entries = entries_of(std::process::id() as i32).unwrap();
        let is_library = |entry: &Entry| entry.file.to_string_lossy().contains("libc");
        assert!(entries.iter().filter(|entry| is_library(entry)).count() >= 4, "{entries:?}");
        assert!(entries.iter().all(|entry| entry.offset > 0));
    }

    #[test]
    fn what_is_no_program_has_no_allocator() {
        assert_eq!(entries_in(Path::new("Cargo.toml")), None);
        assert_eq!(entries_in(Path::new("no such file")), None);
        assert!(entries_of(i32::MAX).unwrap_err().contains("not shown"));
    }
}
