//! What a server said of itself at one instant. Must not compare or show it.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

/// See the file header.
#[derive(Debug)]
pub struct Sample {
    /// When, by the time of day.
    pub at: Duration,
    status: Value,
    metrics: BTreeMap<String, f64>,
}

impl Sample {
    /// Reads the answers of `/v1/admin/status` and `/metrics`.
    ///
    /// # Errors
    /// When the first is no JSON object.
    pub fn read(at: Duration, status: &str, metrics: &str) -> Result<Self, String> {
        let status: Value = serde_json::from_str(status).unwrap_or_default();
        if !status.is_object() {
            return Err("the status is not that of a gridcast".to_owned());
        }
        let lines = metrics.lines().filter(|line| !line.starts_with('#'));
        let read = |line: &str| {
            let (name, value) = line.rsplit_once(' ')?;
            Some((name.to_owned(), value.parse().ok()?))
        };
        Ok(Self { at, status, metrics: lines.filter_map(read).collect() })
    }

    /// A number of the status.
    #[must_use]
    pub fn number(&self, key: &str) -> u64 {
        self.status[key].as_u64().unwrap_or(0)
    }

    /// A text of the status.
    #[must_use]
    pub fn text(&self, key: &str) -> &str {
        self.status[key].as_str().unwrap_or("?")
    }

    /// Whether the status says so.
    #[must_use]
    pub fn is(&self, key: &str) -> bool {
        self.status[key].as_bool().unwrap_or(false)
    }

    /// A metric with its labels, as it is written.
    #[must_use]
    pub fn metric(&self, name: &str) -> f64 {
        self.metrics.get(name).copied().unwrap_or(0.0)
    }

    /// All that have a label, with its value.
    pub fn labelled<'a>(
        &'a self,
        name: &'a str,
        label: &'a str,
    ) -> impl Iterator<Item = (&'a str, f64)> {
        self.metrics.iter().filter_map(move |(key, value)| {
            let labels = key.strip_prefix(name)?.strip_prefix('{')?.strip_suffix('}')?;
            let text = labels.strip_prefix(label)?.strip_prefix("=\"")?.strip_suffix('"')?;
            Some((text, *value))
        })
    }
}
