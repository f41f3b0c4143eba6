//! Notices when files change, so that they are read again. Must not read them.

use std::fs;
use std::path::PathBuf;
use std::time::SystemTime;

/// Some files, and what they were when last looked at.
#[derive(Debug)]
pub struct Watch(Vec<(PathBuf, Option<Stamp>)>);

/// What changes when a file does; none for one that is not there.
type Stamp = (SystemTime, u64);

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

fn stamp(path: &PathBuf) -> Option<Stamp> {
    let metadata = fs::metadata(path).ok()?;
    Some((metadata.modified().ok()?, metadata.len()))
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
}
