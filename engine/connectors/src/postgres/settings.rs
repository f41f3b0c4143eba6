//! The settings of bridges to PostgreSQL. Must not connect.

use std::time::Duration;

use serde::Deserialize;

use crate::postgres::table::Table;
use crate::store::pace::Pace;

/// What `kind = "postgres"` has beside the common settings.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The table that messages are copied into.
    #[serde(default = "default_table")]
    pub table: Table,
    /// Makes the table and its indexes if they are not there. Off by default: an account that only
    /// writes should not need the right to.
    #[serde(default)]
    pub create_table: bool,
    /// Makes the table a hypertable of TimescaleDB, where `create_table` makes it.
    #[serde(default)]
    pub timescale: bool,
    /// Whether `GET /v1/history` is answered from the table, for what the engine no longer keeps.
    #[serde(default = "default_history")]
    pub history: bool,
    /// How long the server may work on one page of history, ms.
    #[serde(default = "default_query_ms_max")]
    pub query_ms_max: u64,
    /// How batches are cut.
    #[serde(default)]
    pub batch: Pace,
}

impl Settings {
    /// Checks them together.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn check(&self) -> Result<(), String> {
        if self.timescale && !self.create_table {
            return Err(
                "timescale: set create_table as well, or make the table yourself".to_owned()
            );
        }
        if !(100..=60_000).contains(&self.query_ms_max) {
            let value = self.query_ms_max;
            return Err(format!("query_ms_max = {value} is not within 100 to 60000 ms"));
        }
        self.batch.check()
    }

    /// What a page of history may take.
    #[must_use]
    pub fn query_time(&self) -> Duration {
        Duration::from_millis(self.query_ms_max)
    }
}

fn default_table() -> Table {
    Table::usual()
}

const fn default_history() -> bool {
    true
}

const fn default_query_ms_max() -> u64 {
    5_000
}
