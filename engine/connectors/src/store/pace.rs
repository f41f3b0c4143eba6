//! How rows are cut into batches, as settings. Owns their defaults and ranges. Must not write.

use std::time::Duration;

use serde::Deserialize;

use crate::bridge::supervisor::SessionError;

/// Sizes of batches and of what waits. Part of the settings of each store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Pace {
    /// Most rows of a batch. Larger ones cost the store less per row and fail as a whole.
    pub rows_max: usize,
    /// Bytes that a batch is cut at, if its rows have not reached their number.
    pub bytes_max: usize,
    /// How long a row waits for others, ms.
    pub wait_ms_max: u64,
    /// Bytes of rows that wait while the store is slow or away. Beyond, messages wait in the
    /// engine's log, and those that its retention passes are lost, counted and told.
    pub spill_bytes_max: usize,
    /// How long the store may take for a batch before the connection counts as lost, ms.
    pub write_ms_max: u64,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            rows_max: 5_000,
            bytes_max: 1 << 20,
            wait_ms_max: 250,
            spill_bytes_max: 64 << 20,
            write_ms_max: 30_000,
        }
    }
}

impl Pace {
    /// What a row waits for others.
    #[must_use]
    pub fn wait(&self) -> Duration {
        Duration::from_millis(self.wait_ms_max)
    }

    /// What a batch may take.
    #[must_use]
    pub fn write_time(&self) -> Duration {
        Duration::from_millis(self.write_ms_max)
    }

    /// Something took longer than a batch may.
    #[must_use]
    pub fn too_slow(&self, what: &str) -> SessionError {
        let message = format!("{what} took longer than {} ms", self.write_ms_max);
        SessionError::new("timeout", message)
    }

    /// Checks each value.
    ///
    /// # Errors
    /// The first that is out of its range.
    pub fn check(&self) -> Result<(), String> {
        let rows = [
            ("rows_max", self.rows_max as u64, 1, 100_000, ""),
            ("bytes_max", self.bytes_max as u64, 4 << 10, 64 << 20, " bytes"),
            ("wait_ms_max", self.wait_ms_max, 1, 60_000, " ms"),
            ("spill_bytes_max", self.spill_bytes_max as u64, 1 << 20, 16 << 30, " bytes"),
            ("write_ms_max", self.write_ms_max, 1_000, 600_000, " ms"),
        ];
        let wrong = rows.iter().find(|(_, value, min, max, _)| !(min..=max).contains(&value));
        match wrong {
            Some((key, value, min, max, unit)) => {
                Err(format!("{key} = {value} is not within {min} to {max}{unit}"))
            }
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_within_their_ranges() {
        Pace::default().check().unwrap();
    }

    #[test]
    fn what_is_out_of_range_is_named() {
        let pace = Pace { wait_ms_max: 0, ..Pace::default() };
        assert_eq!(pace.check().unwrap_err(), "wait_ms_max = 0 is not within 1 to 60000 ms");
    }
}
