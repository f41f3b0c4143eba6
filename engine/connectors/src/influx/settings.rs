//! The settings of bridges to InfluxDB: which database, and which series a topic belongs to. Must
//! not connect.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::bridge::mapping::Rule;
use crate::store::pace::Pace;

/// What `kind = "influx"` has beside the common settings.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The database of InfluxDB 1.x.
    database: Option<String>,
    /// Its retention policy; the default one of the database where none is named.
    retention_policy: Option<String>,
    /// The organisation of InfluxDB 2.x.
    org: Option<String>,
    /// Its bucket.
    bucket: Option<String>,
    /// Which series topics belong to: the first rule that matches holds.
    #[serde(default)]
    series: Vec<Series>,
    #[serde(default)]
    batch: Pace,
}

/// One rule of `series`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Series {
    /// Topics, with `+` and `#`.
    topics: String,
    /// What is measured; `{1}` is what the first wildcard caught.
    measurement: String,
    /// Values of tags, in the same way.
    #[serde(default)]
    tags: BTreeMap<String, String>,
}

/// The settings, checked.
#[derive(Debug)]
pub struct Target {
    /// Path and query of a write.
    pub path: String,
    /// Whether the server speaks the interface of 2.x, which has its own way to send a token.
    pub is_v2: bool,
    /// How batches are cut.
    pub pace: Pace,
}

/// The rules of `series`.
#[derive(Debug)]
pub struct Rules(Vec<SeriesRule>);

#[derive(Debug)]
struct SeriesRule {
    measurement: Rule,
    tags: Vec<(String, Rule)>,
}

/// The series of a topic.
#[derive(Debug, PartialEq, Eq)]
pub struct Named<'a> {
    /// What is measured.
    pub measurement: String,
    /// Keys and values of its tags.
    pub tags: Vec<(&'a str, String)>,
}

impl Settings {
    /// Checks them together.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn check(self) -> Result<(Target, Rules), String> {
        self.batch.check()?;
        let is_v2 = self.bucket.is_some() || self.org.is_some();
        let path = match (&self.database, &self.org, &self.bucket) {
            (Some(database), None, None) => v1_path(database, self.retention_policy.as_deref()),
            (None, Some(org), Some(bucket)) if self.retention_policy.is_none() => {
                format!("/api/v2/write?org={}&bucket={}&precision=ns", quoted(org), quoted(bucket))
            }
            _ => {
                return Err("set `database` (1.x, with or without `retention_policy`), \
                            or `org` and `bucket` (2.x)"
                    .to_owned());
            }
        };
        Ok((Target { path, is_v2, pace: self.batch }, Rules::new(self.series)?))
    }
}

fn v1_path(database: &str, retention_policy: Option<&str>) -> String {
    let policy = retention_policy.map(|policy| format!("&rp={}", quoted(policy)));
    format!("/write?db={}{}&precision=ns", quoted(database), policy.unwrap_or_default())
}

fn quoted(text: &str) -> impl std::fmt::Display {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC)
}

impl Rules {
    fn new(series: Vec<Series>) -> Result<Self, String> {
        let all = Series {
            topics: "#".to_owned(),
            measurement: "gridcast".to_owned(),
            tags: [("topic".to_owned(), "{1}".to_owned())].into(),
        };
        series.into_iter().chain([all]).map(SeriesRule::new).collect::<Result<_, _>>().map(Self)
    }

    /// The series of `topic`.
    #[must_use]
    pub fn name(&self, topic: &str) -> Option<Named<'_>> {
        self.0.iter().find_map(|rule| rule.name(topic))
    }
}

impl SeriesRule {
    fn new(series: Series) -> Result<Self, String> {
        let Series { topics, measurement, tags } = series;
        if measurement.is_empty() || tags.keys().any(String::is_empty) {
            return Err(format!("series of \"{topics}\": names are not empty"));
        }
        let rule = |to: &str| {
            Rule::new(&topics, to).map_err(|error| format!("series of \"{topics}\": {error}"))
        };
        let tags = tags.into_iter().map(|(key, value)| Ok((key, rule(&value)?)));
        let tags = tags.collect::<Result<_, String>>()?;
        Ok(Self { measurement: rule(&measurement)?, tags })
    }

    fn name(&self, topic: &str) -> Option<Named<'_>> {
        let measurement = self.measurement.map(topic)?;
        let tags = self.tags.iter();
        let tags = tags.filter_map(|(key, rule)| Some((key.as_str(), rule.map(topic)?)));
        Some(Named { measurement, tags: tags.collect() })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a failed step ends its test
mod tests {
    use super::*;

    fn checked(text: &str) -> Result<(Target, Rules), String> {
        toml::from_str::<Settings>(text).map_err(|error| error.to_string())?.check()
    }

    #[test]
    fn either_version_has_its_path() {
        let (v1, _) = checked("database = \"a&b\"\nretention_policy = \"week\"").unwrap();
        assert_eq!(v1.path, "/write?db=a%26b&rp=week&precision=ns");
        let (v2, _) = checked("org = \"o\"\nbucket = \"b c\"").unwrap();
        assert_eq!(v2.path, "/api/v2/write?org=o&bucket=b%20c&precision=ns");
        for wrong in ["", "database = \"a\"\norg = \"o\"", "org = \"o\"", "bucket = \"b\""] {
            assert!(checked(wrong).unwrap_err().contains("set `database`"), "{wrong}");
        }
    }

    #[test]
    fn the_first_rule_names_the_series() {
        let checked = checked(
            "database = \"d\"\n\
             series = [{ topics = \"pmu/+/+\", measurement = \"pmu\", \
             tags = { unit = \"{2}\", station = \"{1}\" } }]",
        );
        let (_, rules) = checked.unwrap();
        let named = rules.name("pmu/north/7").unwrap();
        assert_eq!(named.measurement, "pmu");
        assert_eq!(named.tags, [("station", "north".to_owned()), ("unit", "7".to_owned())]);
        let other = rules.name("weather/wind").unwrap();
        assert_eq!(other.measurement, "gridcast");
        assert_eq!(other.tags, [("topic", "weather/wind".to_owned())]);
    }

    #[test]
    fn wrong_rules_are_named() {
        let error =
            checked("database = \"d\"\nseries = [{ topics = \"a/+\", measurement = \"{2}\" }]");
        assert!(error.unwrap_err().starts_with("series of \"a/+\": to = \"{2}\""));
    }
}
