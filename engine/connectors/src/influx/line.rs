//! InfluxDB's line protocol. Owns how names and numbers are written, and which parts of a JSON
//! message become fields. Must not know HTTP, nor when a batch is sent.

use serde_json::Value;

/// Most fields of one message. A message with more is refused: a series with thousands of columns
/// is slow to read, and each new name is kept by the server for ever.
pub const FIELDS_MAX: usize = 1_000;
/// Levels of objects and arrays that are looked into.
const DEPTH_MAX: usize = 8;

/// Why a message has no line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsuited {
    /// It is not JSON.
    NotJson,
    /// No number and no boolean was found in it.
    NoFields,
    /// It has more than [`FIELDS_MAX`] fields.
    TooManyFields,
}

impl Unsuited {
    /// The word for labels and logs.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::NotJson => "not_json",
            Self::NoFields => "no_fields",
            Self::TooManyFields => "too_many_fields",
        }
    }
}

/// Appends the start of a line: what is measured and its tags. A tag without a value is left out,
/// because the protocol has no empty values.
pub fn append_series<'a>(
    out: &mut Vec<u8>,
    measurement: &str,
    tags: impl Iterator<Item = (&'a str, String)>,
) {
    append_escaped(out, measurement, b", ");
    for (key, value) in tags.filter(|(_, value)| !value.is_empty()) {
        out.push(b',');
        append_escaped(out, key, b",= ");
        out.push(b'=');
        append_escaped(out, &value, b",= ");
    }
}

/// Appends the fields of a JSON message and its time, which end the line begun by
/// [`append_series`].
///
/// # Errors
/// Why it has none; `out` is then as long as before.
pub fn append_fields(out: &mut Vec<u8>, payload: &[u8], time_ns: u64) -> Result<(), Unsuited> {
    let value: Value = serde_json::from_slice(payload).map_err(|_| Unsuited::NotJson)?;
    let start = out.len();
    let mut fields = Fields { out, count: 0 };
    fields.collect(&mut String::new(), &value, 0);
    match fields.count {
        1..=FIELDS_MAX => {
            out.extend_from_slice(format!(" {time_ns}\n").as_bytes());
            Ok(())
        }
        count => {
            out.truncate(start);
            Err(if count == 0 { Unsuited::NoFields } else { Unsuited::TooManyFields })
        }
    }
}

/// The fields written so far.
struct Fields<'a> {
    out: &'a mut Vec<u8>,
    count: usize,
}

impl Fields<'_> {
    /// Adds what `value` holds, under the name `path`; names of levels are joined by `_`.
    fn collect(&mut self, path: &mut String, value: &Value, depth: usize) {
        if self.count > FIELDS_MAX || depth > DEPTH_MAX {
            return;
        }
        match value {
            // A number as it was written, and always a float: a field that is `5` now and `5.5`
            // later would be refused otherwise, because the type of a field never changes.
            Value::Number(number) => self.add(path, &number.to_string()),
            Value::Bool(flag) => self.add(path, if *flag { "true" } else { "false" }),
            Value::Object(map) => {
                for (key, inner) in map {
                    self.within(path, key, inner, depth);
                }
            }
            Value::Array(items) => {
                for (i, inner) in items.iter().enumerate() {
                    self.within(path, &i.to_string(), inner, depth);
                }
            }
            Value::String(_) | Value::Null => {}
        }
    }

    fn within(&mut self, path: &mut String, key: &str, inner: &Value, depth: usize) {
        let length = path.len();
        if length > 0 {
            path.push('_');
        }
        path.push_str(key);
        self.collect(path, inner, depth + 1);
        path.truncate(length);
    }

    fn add(&mut self, path: &str, value: &str) {
        self.count += 1;
        self.out.push(if self.count == 1 { b' ' } else { b',' });
        append_escaped(self.out, field_name(path), b",= ");
        self.out.push(b'=');
        self.out.extend_from_slice(value.as_bytes());
    }
}

/// A number alone is called `value`. `time` is the name of the timestamp and refused as a field.
fn field_name(path: &str) -> &str {
    match path {
        "" => "value",
        "time" => "time_",
        _ => path,
    }
}

/// Appends `text` with a backslash before each of `special`. What would end a line, or could not be
/// escaped (a backslash at the end would escape the separator after it), becomes `_`.
fn append_escaped(out: &mut Vec<u8>, text: &str, special: &[u8]) {
    for &byte in text.as_bytes() {
        if special.contains(&byte) {
            out.push(b'\\');
        }
        out.push(if byte.is_ascii_control() || byte == b'\\' { b'_' } else { byte });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(payload: &str) -> Result<String, Unsuited> {
        let mut out = Vec::new();
        append_series(&mut out, "m", std::iter::empty());
        append_fields(&mut out, payload.as_bytes(), 7)?;
        Ok(String::from_utf8(out).unwrap())
    }

    #[test]
    fn numbers_and_booleans_become_fields() {
        let payload = r#"{"f":49.98,"n":5,"ok":true,"name":"a","none":null}"#;
        assert_eq!(line(payload).unwrap(), "m f=49.98,n=5,ok=true 7\n");
        assert_eq!(line("-1.5e300").unwrap(), "m value=-1.5e+300 7\n");
    }

    #[test]
    fn levels_are_joined() {
        let payload = r#"{"time":3,"u":{"mag":[1,2]}}"#;
        assert_eq!(line(payload).unwrap(), "m time_=3,u_mag_0=1,u_mag_1=2 7\n");
    }

    #[test]
    fn what_has_no_fields_has_no_line() {
        assert_eq!(line("\u{1}"), Err(Unsuited::NotJson));
        assert_eq!(line(r#"{"a":"b"}"#), Err(Unsuited::NoFields));
        let many: Vec<String> = (0..=FIELDS_MAX).map(|i| format!("\"{i}\":0")).collect();
        assert_eq!(line(&format!("{{{}}}", many.join(","))), Err(Unsuited::TooManyFields));
    }

    #[test]
    fn nothing_leaves_its_place() {
        let mut out = Vec::new();
        let tags = [("a b", "x,y=z".to_owned()), ("empty", String::new()), ("t", "q\\".to_owned())];
        append_series(&mut out, "m, 1\n2", tags.into_iter());
        append_fields(&mut out, br#"{"k\n=1":1}"#, 9).unwrap();
        let expected = "m\\,\\ 1_2,a\\ b=x\\,y\\=z,t=q_ k_\\=1=1 9\n";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}
