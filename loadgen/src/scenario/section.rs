//! Reads one table of a scenario file, key by key, with errors that name the place and the remedy.
//! Must not know the keys of a scenario: its callers do.

use std::ops::RangeInclusive;

use thiserror::Error;
use toml::{Table, Value};

/// What is wrong with a scenario, in enough detail to correct it.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum ScenarioError {
    /// The text is not TOML.
    #[error("not valid TOML: {0}")]
    Syntax(String),
    /// An unknown key. Ignoring it would measure something else than the author wants.
    #[error("unknown key `{key}` in {place}; {hint}")]
    UnknownKey {
        /// The key as written.
        key: String,
        /// The table that holds it.
        place: String,
        /// The most similar known key, or all known keys.
        hint: String,
    },
    /// A required key is missing.
    #[error("`{key}` is missing in {place}; write e.g. `{example}`")]
    Missing {
        /// The missing key.
        key: String,
        /// The table that should hold it.
        place: String,
        /// An example line.
        example: String,
    },
    /// A value of the wrong TOML type.
    #[error("`{key}` in {place} must be {expected}, not {found}")]
    WrongType {
        /// The key as written.
        key: String,
        /// The table that holds it.
        place: String,
        /// The expected type.
        expected: &'static str,
        /// The TOML type found.
        found: &'static str,
    },
    /// A value of the right type that makes no sense.
    #[error("`{key}` in {place}: {reason}")]
    BadValue {
        /// The key as written.
        key: String,
        /// The table that holds it.
        place: String,
        /// Why it cannot be used, and a valid alternative.
        reason: String,
    },
    /// Values that are valid alone but not together.
    #[error("{0}")]
    Contradiction(String),
}

fn hint(wrong: &str, known: &[&str]) -> String {
    match nearest(wrong, known.iter().copied()) {
        Some(name) => format!("did you mean `{name}`?"),
        None => format!("known keys: {}", known.join(", ")),
    }
}

/// The known name most similar to a wrong one, if any is similar.
pub fn nearest<'n>(wrong: &str, known: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
    known
        .into_iter()
        .map(|name| (strsim::jaro_winkler(wrong, name), name))
        .filter(|(likeness, _)| *likeness >= 0.75)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name)
}

/// A text in TOML syntax.
pub fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

/// A table whose keys are all known.
pub struct Section<'t> {
    place: String,
    table: &'t Table,
}

impl<'t> Section<'t> {
    /// Takes a table after checking that it holds only `known` keys.
    pub fn new(
        place: impl Into<String>,
        table: &'t Table,
        known: &[&str],
    ) -> Result<Self, ScenarioError> {
        let place = place.into();
        match table.keys().find(|key| !known.contains(&key.as_str())) {
            None => Ok(Self { place, table }),
            Some(key) => {
                Err(ScenarioError::UnknownKey { key: key.clone(), place, hint: hint(key, known) })
            }
        }
    }

    /// Whether the key is present.
    pub fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// A text, if present.
    pub fn text(&self, key: &str) -> Result<Option<&'t str>, ScenarioError> {
        self.typed(key, "text in quotes", Value::as_str)
    }

    /// A text turned into a value by `parse`, if present.
    pub fn parsed<T>(
        &self,
        key: &str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Result<Option<T>, ScenarioError> {
        let Some(text) = self.text(key)? else { return Ok(None) };
        parse(text).map(Some).map_err(|reason| self.bad(key, reason))
    }

    /// A whole number within `range`, if present.
    pub fn integer(
        &self,
        key: &str,
        range: RangeInclusive<u64>,
    ) -> Result<Option<u64>, ScenarioError> {
        let Some(value) = self.typed(key, "a whole number", Value::as_integer)? else {
            return Ok(None);
        };
        match u64::try_from(value) {
            Ok(number) if range.contains(&number) => Ok(Some(number)),
            _ => {
                Err(self
                    .bad(key, format!("{value} is outside {}..={}", range.start(), range.end())))
            }
        }
    }

    /// A number within `range`, with or without a decimal point, if present.
    pub fn number(
        &self,
        key: &str,
        range: RangeInclusive<f64>,
    ) -> Result<Option<f64>, ScenarioError> {
        let number = |value: &Value| {
            value.as_float().or_else(|| value.as_integer().map(|whole| whole as f64))
        };
        let Some(value) = self.typed(key, "a number", number)? else { return Ok(None) };
        if range.contains(&value) {
            return Ok(Some(value));
        }
        Err(self.bad(key, format!("{value} is outside {}..={}", range.start(), range.end())))
    }

    /// Whether the key is `true`; absent is `false`.
    pub fn flag(&self, key: &str) -> Result<bool, ScenarioError> {
        Ok(self.typed(key, "true or false", Value::as_bool)?.unwrap_or(false))
    }

    /// The `name`, if present: names become parts of file names.
    pub fn name(&self) -> Result<Option<String>, ScenarioError> {
        self.parsed("name", |text| {
            let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
            if (1..=64).contains(&text.len()) && text.chars().all(fits) && !text.starts_with('.') {
                return Ok(text.to_owned());
            }
            Err(format!("`{text}` must be 1..=64 letters, digits, `-`, `_` or `.`"))
        })
    }

    /// The value as it is, whatever its type.
    pub fn any(&self, key: &str) -> Option<&'t Value> {
        self.table.get(key)
    }

    /// A list of texts; absent is empty.
    pub fn texts(&self, key: &str) -> Result<Vec<&'t str>, ScenarioError> {
        let expected = "a list of texts";
        let list = self.typed(key, expected, Value::as_array)?;
        let texts = list.into_iter().flatten();
        texts
            .map(|item| item.as_str().ok_or_else(|| self.wrong_type(key, expected, item)))
            .collect()
    }

    /// A sub-table with its keys checked against `known`, if present.
    pub fn table(&self, key: &str, known: &[&str]) -> Result<Option<Section<'t>>, ScenarioError> {
        let table = self.typed(key, "a table", Value::as_table)?;
        table.map(|table| Section::new(format!("[{key}]"), table, known)).transpose()
    }

    /// A list of sub-tables with their keys checked against `known`; absent is empty.
    pub fn tables(&self, key: &str, known: &[&str]) -> Result<Vec<Section<'t>>, ScenarioError> {
        let expected = "a list of tables";
        let list = self.typed(key, expected, Value::as_array)?;
        let items = list.into_iter().flatten().enumerate();
        items
            .map(|(index, item)| {
                let table = item.as_table().ok_or_else(|| self.wrong_type(key, expected, item))?;
                Section::new(format!("{key}[{index}]"), table, known)
            })
            .collect()
    }

    /// The value, or an error that the key is missing, with an example line.
    pub fn required<T>(
        &self,
        key: &str,
        example: &str,
        value: Option<T>,
    ) -> Result<T, ScenarioError> {
        value.ok_or_else(|| ScenarioError::Missing {
            key: key.to_owned(),
            place: self.place.clone(),
            example: example.to_owned(),
        })
    }

    /// The error for an invalid value of `key`.
    pub fn bad(&self, key: &str, reason: impl Into<String>) -> ScenarioError {
        ScenarioError::BadValue {
            key: key.to_owned(),
            place: self.place.clone(),
            reason: reason.into(),
        }
    }

    fn typed<T>(
        &self,
        key: &str,
        expected: &'static str,
        convert: impl FnOnce(&'t Value) -> Option<T>,
    ) -> Result<Option<T>, ScenarioError> {
        let Some(value) = self.table.get(key) else { return Ok(None) };
        convert(value).map(Some).ok_or_else(|| self.wrong_type(key, expected, value))
    }

    fn wrong_type(&self, key: &str, expected: &'static str, found: &Value) -> ScenarioError {
        ScenarioError::WrongType {
            key: key.to_owned(),
            place: self.place.clone(),
            expected,
            found: found.type_str(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(text: &str) -> Table {
        text.parse().unwrap()
    }

    #[test]
    fn an_unknown_key_is_answered_with_the_nearest_right_one() {
        let table = table("counnt = 3");
        let error = Section::new("publishers[0]", &table, &["count", "fps"]).err().unwrap();
        assert_eq!(
            error.to_string(),
            "unknown key `counnt` in publishers[0]; did you mean `count`?"
        );
    }

    #[test]
    fn a_key_like_no_other_lists_the_known_ones() {
        let table = table("xyzzy = 3");
        let error = Section::new("the file", &table, &["count", "fps"]).err().unwrap();
        assert_eq!(error.to_string(), "unknown key `xyzzy` in the file; known keys: count, fps");
    }

    #[test]
    fn wrong_types_and_ranges_name_the_place() {
        let table = table("count = 'three'\nfps = 0\nlist = [1]");
        let section = Section::new("publishers[0]", &table, &["count", "fps", "list"]).unwrap();
        let message = |error: ScenarioError| error.to_string();
        assert_eq!(
            message(section.integer("count", 1..=9).unwrap_err()),
            "`count` in publishers[0] must be a whole number, not string"
        );
        assert_eq!(
            message(section.integer("fps", 1..=9).unwrap_err()),
            "`fps` in publishers[0]: 0 is outside 1..=9"
        );
        assert_eq!(
            message(section.texts("list").unwrap_err()),
            "`list` in publishers[0] must be a list of texts, not integer"
        );
    }
}
