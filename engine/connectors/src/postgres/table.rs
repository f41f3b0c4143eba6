//! The table: its name, how it is made, and the texts of the statements about it. Must not talk to
//! a server.

use serde::{Deserialize, Deserializer, de};

/// Columns in the order in which rows are copied.
const COLUMNS: &str = "time, topic, epoch, seq, kind, payload, payload_json";
/// Longest part of a name: PostgreSQL cuts longer ones.
const NAME_BYTES_MAX: usize = 63;
/// What the names of the indexes add to the name of the table.
const SUFFIX_BYTES_MAX: usize = "_position".len();

/// A table's name, with its schema if one was given. What it holds needs no quotes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// As in statements.
    full: String,
    /// Without the schema.
    name: String,
}

impl Table {
    /// The one that is used where none is named.
    #[must_use]
    pub fn usual() -> Self {
        Self { full: "gridcast_messages".to_owned(), name: "gridcast_messages".to_owned() }
    }

    /// Takes `text` if it is a name of lower-case letters, digits and underscores, with or without
    /// a schema before a dot.
    ///
    /// # Errors
    /// What such a name is made of.
    pub fn new(text: &str) -> Result<Self, String> {
        let parts: Vec<&str> = text.split('.').collect();
        let name = parts.last().copied().unwrap_or_default();
        if parts.len() > 2 || !parts.iter().all(|part| is_plain(part)) {
            return Err(format!(
                "`{text}` is not `table` or `schema.table` of lower-case letters, digits and \
                 underscores, at most {} bytes each",
                NAME_BYTES_MAX - SUFFIX_BYTES_MAX
            ));
        }
        Ok(Self { full: text.to_owned(), name: name.to_owned() })
    }

    /// Makes the table and its indexes where they are not there yet. The first index answers for
    /// positions, the second for times.
    #[must_use]
    pub fn creation(&self) -> String {
        let Self { full, name } = self;
        format!(
            "CREATE TABLE IF NOT EXISTS {full} (\
             time timestamptz NOT NULL, topic text NOT NULL, epoch bigint NOT NULL, \
             seq bigint NOT NULL, kind text NOT NULL, payload bytea NOT NULL, payload_json jsonb); \
             CREATE INDEX IF NOT EXISTS {name}_position ON {full} (topic, epoch, seq); \
             CREATE INDEX IF NOT EXISTS {name}_time ON {full} (topic, time)"
        )
    }

    /// Makes it a table of TimescaleDB, which cuts it into pieces by time.
    #[must_use]
    pub fn partitioning(&self) -> String {
        let Self { full, .. } = self;
        format!(
            "SELECT create_hypertable('{full}', 'time', \
             if_not_exists => true, migrate_data => true)"
        )
    }

    /// Begins the copy of a batch.
    #[must_use]
    pub fn copy(&self) -> String {
        format!("COPY {} ({COLUMNS}) FROM STDIN (FORMAT binary)", self.full)
    }

    /// Asks whether the row of a position is there: `$1` topic, `$2` epoch, `$3` seq.
    #[must_use]
    pub fn contains(&self) -> String {
        let Self { full, .. } = self;
        format!("SELECT EXISTS (SELECT FROM {full} WHERE topic = $1 AND epoch = $2 AND seq = $3)")
    }

    /// One page of a topic. `$1` topic; `$2`, `$3` the position behind which it begins, `$4`, `$5`
    /// the position before which it ends; `$6` rows; `$7` bytes; the conditions on time are numbers
    /// of this program, none where a side is open.
    ///
    /// The sum of bytes is made in the server, so that a page of large messages never crosses the
    /// wire to be thrown away here.
    #[must_use]
    pub fn page(&self, from_ms: Option<u64>, to_ms: Option<u64>) -> String {
        let Self { full, .. } = self;
        let from = from_ms.map(|ms| format!(" AND time >= to_timestamp({ms} / 1000.0)"));
        let to = to_ms.map(|ms| format!(" AND time <= to_timestamp({ms} / 1000.0)"));
        let times = [from, to].map(Option::unwrap_or_default).concat();
        format!(
            "SELECT time, epoch, seq, kind, payload, found FROM (\
             SELECT *, count(*) OVER () AS found, \
             sum(octet_length(payload)) OVER (ORDER BY epoch, seq) - octet_length(payload) \
             AS ahead \
             FROM (SELECT DISTINCT ON (epoch, seq) time, epoch, seq, kind, payload FROM {full} \
             WHERE topic = $1 AND (epoch, seq) > ($2, $3) AND (epoch, seq) < ($4, $5){times} \
             ORDER BY epoch, seq LIMIT $6) AS page) AS sized \
             WHERE ahead <= $7 ORDER BY epoch, seq"
        )
    }
}

impl<'de> Deserialize<'de> for Table {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(&String::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

fn is_plain(part: &str) -> bool {
    let starts_well = part.starts_with(|c: char| c.is_ascii_lowercase() || c == '_');
    let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    starts_well && part.chars().all(is_plain) && part.len() <= NAME_BYTES_MAX - SUFFIX_BYTES_MAX
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_names_are_tables() {
        for good in ["messages", "grid.messages_2", "_a"] {
            assert!(Table::new(good).is_ok(), "{good}");
        }
        let long = "a".repeat(60);
        for bad in ["", "a.b.c", "1a", "a;drop table b", "A", "a b", "a\"", ".a", &long] {
            assert!(Table::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn indexes_are_named_after_the_table_alone() {
        let table = Table::new("grid.messages").unwrap();
        assert!(table.creation().contains("INDEX IF NOT EXISTS messages_time ON grid.messages"));
    }

    #[test]
    fn open_sides_have_no_condition() {
        let table = Table::new("m").unwrap();
        assert!(!table.page(None, None).contains("to_timestamp"));
        let both = table.page(Some(5), Some(7));
        assert!(both.contains("time >= to_timestamp(5 / 1000.0) AND time <= to_timestamp(7 /"));
    }
}
