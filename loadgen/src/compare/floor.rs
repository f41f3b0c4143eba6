//! The noise floor of a host: how much two sides of the same server differ. Owns its file. Must not
//! judge: it only states which differences cannot be detected.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::compare::pairing::Pairing;

/// Relative differences between equal servers, by metric.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Floor {
    /// The host it was measured on.
    pub host_fingerprint: String,
    /// Whether the runs of a pair took place at the same time, which gives a lower floor.
    #[serde(default)]
    pub is_of_duets: bool,
    /// By metric key: the distance of the interval's outer end from 1, as a share.
    pub shares: BTreeMap<String, f64>,
}

/// Why there is no floor.
#[derive(Debug, Error)]
pub enum FloorError {
    /// The file cannot be read or written.
    #[error("{}: {cause}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The reason.
        cause: io::Error,
    },
    /// The file was not written by `gridload ab --calibrate`.
    #[error("{}: not written by `gridload ab --calibrate`: {cause}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// The reason.
        cause: serde_json::Error,
    },
    /// The floor belongs to another host.
    #[error("{}: found on another host: calibrate on this one", .0.display())]
    Host(PathBuf),
    /// The floor was measured with pairs of another kind.
    #[error(
        "{}: found {}: calibrate as you compare, {}", path.display(),
        if *is_of_duets { "with --duet" } else { "without --duet" },
        if *is_of_duets { "without it" } else { "with it" },
    )]
    Pairing {
        /// The file.
        path: PathBuf,
        /// How the floor's pairs were run.
        is_of_duets: bool,
    },
}

impl Floor {
    /// Reads a floor; it must be of this host and of pairs of the same kind.
    ///
    /// # Errors
    /// When it cannot be read, or does not fit.
    pub fn read(path: &Path, host: &str, pairing: Pairing) -> Result<Floor, FloorError> {
        let text = fs::read_to_string(path)
            .map_err(|cause| FloorError::File { path: path.to_owned(), cause })?;
        let floor: Floor = serde_json::from_str(&text)
            .map_err(|cause| FloorError::Malformed { path: path.to_owned(), cause })?;
        let path = path.to_owned();
        if floor.host_fingerprint != host {
            Err(FloorError::Host(path))
        } else if floor.is_of_duets != (pairing == Pairing::Together) {
            Err(FloorError::Pairing { path, is_of_duets: floor.is_of_duets })
        } else {
            Ok(floor)
        }
    }

    /// Writes the floor.
    ///
    /// # Errors
    /// The error of the file system.
    pub fn write(&self, path: &Path) -> Result<(), FloorError> {
        let file = |cause| FloorError::File { path: path.to_owned(), cause };
        let text = serde_json::to_string_pretty(self).map_err(|error| file(error.into()))?;
        fs::write(path, text + "\n").map_err(file)
    }

    /// The smallest detectable difference of a metric, as a share.
    pub fn share(&self, key: &str) -> f64 {
        self.shares.get(key).copied().unwrap_or(0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::comparison::{Change, Compared, Comparison};
    use crate::compare::metric::METRICS;

    #[test]
    fn a_floor_is_the_outer_end_of_the_interval_of_one_host_and_one_way() {
        let one = Compared {
            metric: &METRICS[4],
            is_gated: true,
            effect_min: 0.05,
            base: vec![1.0],
            cand: vec![1.0],
            base_is_least: false,
            cand_is_least: false,
            ratio: 1.0,
            interval: (0.8, 1.1),
            probability: 1.0,
            change: Change::Inconclusive,
        };
        let comparison = Comparison { metrics: vec![one], ..Comparison::default() };
        let floor = comparison.floor("here", Pairing::ByTurns);
        assert_eq!(floor.share("cpu_per_delivery"), 0.25, "a fifth less one way is a quarter more");
        assert_eq!(floor.share("e2e_p99"), 0.0);
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("floor.json");
        let refused = |host, pairing| Floor::read(&path, host, pairing).unwrap_err().to_string();
        assert!(refused("here", Pairing::ByTurns).contains("No such file"));
        floor.write(&path).unwrap();
        assert_eq!(Floor::read(&path, "here", Pairing::ByTurns).unwrap(), floor);
        assert_eq!(Floor::read(&path, "here", Pairing::None).unwrap(), floor);
        let error = refused("there", Pairing::ByTurns);
        assert!(error.contains("calibrate on this one"), "{error}");
        let error = refused("here", Pairing::Together);
        assert!(error.contains("without --duet: calibrate as you compare, with it"), "{error}");
        fs::write(&path, "{}").unwrap();
        assert!(refused("here", Pairing::ByTurns).contains("--calibrate"));
    }
}
