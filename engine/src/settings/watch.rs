//! Notices when files change, so that they are read again. Must not read them.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

/// Some files, and what they were when last looked at.
#[derive(Debug)]
pub struct Watch(Vec<(PathBuf, Option<Stamp>)>);

/// What changes when a file does: its device and number, when its data and when anything of it
/// changed, in s and ns, and its size. Tools set the time of the data as they like, and keys of one
/// kind have one size; nobody sets the time of the change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    inode: (u64, u64),
    modified: (i64, i64),
    changed: (i64, i64),
    bytes: u64,
}

impl Watch {
    /// Watches these from now on.
    #[must_use]
    pub fn new(paths: Vec<PathBuf>) -> Self {
        let stamped = paths.into_iter().map(|path| {
            let stamp = stamp(&path);
            (path, stamp)
        });
        Self(stamped.collect())
    }

    /// Whether one has changed since this was last asked.
    pub fn has_changed(&mut self) -> bool {
        let mut changed = false;
        for (path, known) in &mut self.0 {
            let stamp = stamp(path);
            changed |= stamp != *known;
            *known = stamp;
        }
        changed
    }
}

/// None for a file that is not there.
fn stamp(path: &PathBuf) -> Option<Stamp> {
    let metadata = fs::metadata(path).ok()?;
    Some(Stamp {
        inode: (metadata.dev(), metadata.ino()),
        modified: (metadata.mtime(), metadata.mtime_nsec()),
        changed: (metadata.ctime(), metadata.ctime_nsec()),
        bytes: metadata.len(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_seen_once_and_so_is_coming_and_going() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        let mut watch = Watch::new(vec![path.clone()]);
        assert!(!watch.has_changed());
        fs::write(&path, "1").unwrap();
        assert!(watch.has_changed() && !watch.has_changed());
        fs::write(&path, "22").unwrap();
        assert!(watch.has_changed() && !watch.has_changed());
        fs::remove_file(&path).unwrap();
        assert!(watch.has_changed() && !watch.has_changed());
    }

    #[test]
    fn a_file_of_the_same_size_and_time_is_another() {
        let dir = tempfile::tempdir().unwrap();
        let (path, next) = (dir.path().join("f"), dir.path().join("next"));
        let write = |path: &PathBuf, text: &str| {
            fs::write(path, text).unwrap();
            let file = fs::File::options().write(true).open(path).unwrap();
            file.set_modified(std::time::UNIX_EPOCH).unwrap();
        };
        write(&path, "1");
        let mut watch = Watch::new(vec![path.clone()]);
        write(&next, "2");
        fs::rename(&next, &path).unwrap();
        assert!(watch.has_changed() && !watch.has_changed(), "replaced");
        let changed = fs::metadata(&path).unwrap().ctime_nsec();
        while fs::metadata(&path).unwrap().ctime_nsec() == changed {
            write(&path, "3");
        }
        assert!(watch.has_changed() && !watch.has_changed(), "written in its place");
        let (real, link) = (dir.path().join("real"), dir.path().join("link"));
        write(&real, "4");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        let mut watch = Watch::new(vec![link.clone()]);
        fs::remove_file(&link).unwrap();
        std::os::unix::fs::symlink(&real, &link).unwrap();
        assert!(watch.has_changed(), "a link to another");
    }
}
