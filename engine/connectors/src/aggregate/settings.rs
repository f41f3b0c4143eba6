//! What an `[[aggregate]]` says, checked. Must not aggregate anything.

use gridcast::feed::topic::{Target, Topic};
use serde::Deserialize;

/// One row as it stands in the file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Row {
    /// What it is called in metrics and logs.
    pub name: String,
    /// The topic or pattern whose messages it takes.
    pub topics: String,
    /// The paths of the numbers it takes; all where there are none.
    #[serde(default)]
    pub fields: Vec<String>,
    /// The length of a window, ms; windows begin at multiples of it since 1970.
    pub window_ms: u64,
    /// What is worked out of the numbers of a window.
    #[serde(default = "every_function")]
    pub functions: Vec<Function>,
    /// Where results are published.
    #[serde(default = "aggregate_of_topic")]
    pub into: String,
    /// The path of the time that counts; when a message came where it is empty.
    #[serde(default)]
    pub time: String,
    /// How long a window waits for messages that come late, ms.
    #[serde(default)]
    pub wait_ms: u64,
    /// Topics of one window.
    #[serde(default = "topics_max")]
    pub topics_max: usize,
    /// Different paths of numbers.
    #[serde(default = "fields_max")]
    pub fields_max: usize,
}

/// What is worked out of the numbers of a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Function {
    /// The smallest.
    Min,
    /// Their sum by their count.
    Mean,
    /// The largest.
    Max,
    /// The newest.
    Last,
    /// How many there were.
    Count,
}

impl Function {
    /// The name of its member in a result.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Min => "min",
            Self::Mean => "mean",
            Self::Max => "max",
            Self::Last => "last",
            Self::Count => "count",
        }
    }
}

fn every_function() -> Vec<Function> {
    vec![Function::Min, Function::Mean, Function::Max, Function::Last, Function::Count]
}

fn aggregate_of_topic() -> String {
    "aggregate/{topic}".to_owned()
}

/// Ten thousand PMUs.
const fn topics_max() -> usize {
    10_000
}

/// A PMU has about twenty numbers.
const fn fields_max() -> usize {
    64
}

/// The shortest window: below it results would be as many as messages.
const WINDOW_MS_MIN: u64 = 10;
const WINDOW_MS_MAX: u64 = 86_400_000;
const WAIT_MS_MAX: u64 = 600_000;
const TOPICS_MAX: usize = 1_000_000;
const FIELDS_MAX: usize = 4_096;

impl Row {
    /// What is wrong with it, each in words that name the key; none when nothing is.
    #[must_use]
    pub fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        if let Err(error) = self.topics.parse::<Target>() {
            faults.push(format!("topics = \"{}\": {error}", self.topics));
        }
        let example = self.into.replace("{topic}", "a").replace("{name}", &self.name);
        if let Err(error) = Topic::new(&example) {
            faults.push(format!("into = \"{}\": {error}", self.into));
        } else if example.starts_with('$') {
            let into = &self.into;
            faults.push(format!("into = \"{into}\": topics that start with `$` are the engine's"));
        } else if !self.into.contains("{topic}")
            && matches!(self.topics.parse(), Ok(Target::Pattern(_)))
        {
            let into = &self.into;
            faults.push(format!("into = \"{into}\": a pattern has many topics: say {{topic}}"));
        }
        if self.functions.is_empty() {
            faults.push("functions: name one at least, or leave the key out".to_owned());
        }
        for (key, value, min, max, unit) in [
            ("window_ms", self.window_ms, WINDOW_MS_MIN, WINDOW_MS_MAX, "ms"),
            ("wait_ms", self.wait_ms, 0, WAIT_MS_MAX, "ms"),
            ("topics_max", self.topics_max as u64, 1, TOPICS_MAX as u64, "topics"),
            ("fields_max", self.fields_max as u64, 1, FIELDS_MAX as u64, "fields"),
        ] {
            if !(min..=max).contains(&value) {
                faults.push(format!("{key} = {value}: from {min} to {max} {unit}"));
            }
        }
        if self.fields.len() > self.fields_max {
            faults.push(format!("fields: more than fields_max = {}", self.fields_max));
        }
        faults
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(text: &str) -> Result<Row, toml::de::Error> {
        toml::from_str(text)
    }

    #[test]
    fn the_least_that_must_be_said_is_enough() {
        let row = row("name = \"a\"\ntopics = \"pmu/#\"\nwindow_ms = 1000").unwrap();
        assert_eq!(row.faults(), Vec::<String>::new());
        assert_eq!((row.functions.len(), row.into.as_str()), (5, "aggregate/{topic}"));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let unknown = row("name = \"a\"\ntopic = \"a\"").unwrap_err();
        assert!(unknown.message().contains("topic"), "{unknown}");
        for (line, part) in [
            ("topics = \"a//b\"", "topics = \"a//b\""),
            ("into = \"x\"", "say {topic}"),
            ("into = \"$sys/{topic}\"", "the engine's"),
            ("into = \"{topic}/#\"", "into ="),
            ("functions = []", "functions"),
            ("window_ms = 9", "window_ms = 9: from 10 to 86400000 ms"),
            ("fields = [\"a\", \"b\"]\nfields_max = 1", "fields_max = 1"),
        ] {
            let mut lines = vec!["name = \"a\""];
            for default in ["topics = \"a/#\"", "window_ms = 1000"] {
                let key = default.split(' ').next().unwrap();
                if !line.starts_with(key) {
                    lines.push(default);
                }
            }
            lines.push(line);
            let faults = row(&lines.join("\n")).unwrap().faults();
            assert!(faults.iter().any(|fault| fault.contains(part)), "{line}: {faults:?}");
        }
    }
}
