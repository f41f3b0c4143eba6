//! One table of a file of settings on its way into types. Owns how keys are taken out of it and how
//! errors name them. Must not know any key.

use serde::de::DeserializeOwned;
use toml::{Table, Value};

/// A table whose keys are taken out one by one; what is left belongs to its kind.
#[derive(Debug)]
pub struct Reader {
    /// How errors name it: `bridge "plant"`.
    pub name: String,
    table: Table,
}

impl Reader {
    /// A reader of `table`, which is number `index` of its sort, counted from 0. Its key `name`
    /// says how errors name it.
    #[must_use]
    pub fn new(sort: &str, index: usize, table: &Table) -> Self {
        let name = match table.get("name") {
            Some(Value::String(name)) => format!("{sort} \"{name}\""),
            _ => format!("{sort} {}", index + 1),
        };
        Self { name, table: table.clone() }
    }

    /// A reader of a table of which there is one only.
    #[must_use]
    pub fn single(name: &str, table: &Table) -> Self {
        Self { name: name.to_owned(), table: table.clone() }
    }

    /// The value of a key; none where it is not there.
    ///
    /// # Errors
    /// When it is of another type.
    pub fn take<T: DeserializeOwned>(&mut self, key: &str) -> Result<Option<T>, String> {
        let Some(value) = self.table.remove(key) else { return Ok(None) };
        value.try_into().map(Some).map_err(|error| self.wrong(key, &first_line(&error)))
    }

    /// The value of a key that must be there.
    ///
    /// # Errors
    /// When it is not, or is of another type.
    pub fn need<T: DeserializeOwned>(&mut self, key: &str) -> Result<T, String> {
        let value = self.take(key)?;
        value.ok_or_else(|| format!("{}: `{key}` is missing", self.name))
    }

    /// Everything that was not taken, as the settings of a kind, which refuse what they do not
    /// know.
    ///
    /// # Errors
    /// The first key that is unknown, missing or of another type.
    pub fn rest<T: DeserializeOwned>(self) -> Result<T, String> {
        let name = self.name;
        Value::Table(self.table).try_into().map_err(|error| format!("{name}: {}", with_key(&error)))
    }

    /// The words of an error about one key.
    #[must_use]
    pub fn wrong(&self, key: &str, error: &str) -> String {
        format!("{}: {key}: {error}", self.name)
    }
}

/// The words of an error about one key among others, with the key before them.
fn with_key(error: &toml::de::Error) -> String {
    let (words, shown) = (first_line(error), error.to_string());
    match shown.lines().find_map(|line| line.strip_prefix("in `")?.strip_suffix('`')) {
        Some(key) => format!("{key}: {words}"),
        None => words,
    }
}

fn first_line(error: &toml::de::Error) -> String {
    error.message().lines().next().unwrap_or_default().to_owned()
}
