//! The numbers of a JSON text, each with the path to it, without a tree of it in memory. Owns how a
//! path is written: names and indices joined by dots, `phasors.0.magnitude`. Must not know what the
//! numbers are for.

use std::fmt::{self, Write};

use serde::Deserializer;
use serde::de::{DeserializeSeed, Error, MapAccess, SeqAccess, Visitor};

/// What stands at the end of a path.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Leaf<'a> {
    /// A number.
    Number(f64),
    /// A text: a time may be written as one.
    Text(&'a str),
}

/// A text that is no JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotJson;

/// Hands every number and text of `json` to `take`, with its path. `path` is room to work in.
///
/// # Errors
/// [`NotJson`]; some numbers may have been handed on before.
pub fn walk(
    json: &[u8],
    path: &mut String,
    mut take: impl FnMut(&str, Leaf<'_>),
) -> Result<(), NotJson> {
    path.clear();
    let mut reader = serde_json::Deserializer::from_slice(json);
    let value = Value { path, take: &mut take };
    value.deserialize(&mut reader).and_then(|()| reader.end()).map_err(|_| NotJson)
}

/// A value, at a path.
struct Value<'a, F> {
    path: &'a mut String,
    take: &'a mut F,
}

impl<'de, F: FnMut(&str, Leaf<'_>)> DeserializeSeed<'de> for Value<'_, F> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<(), D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'de, F: FnMut(&str, Leaf<'_>)> Visitor<'de> for Value<'_, F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        loop {
            let len = self.path.len();
            if len > 0 {
                self.path.push('.');
            }
            let is_there = map.next_key_seed(Name(self.path))?.is_some();
            if is_there {
                map.next_value_seed(Value { path: self.path, take: self.take })?;
            }
            self.path.truncate(len);
            if !is_there {
                return Ok(());
            }
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let len = self.path.len();
        let mut index = 0_u64;
        loop {
            let dot = if len > 0 { "." } else { "" };
            write!(self.path, "{dot}{index}").map_err(A::Error::custom)?;
            let item = Value { path: self.path, take: self.take };
            let is_there = items.next_element_seed(item)?.is_some();
            self.path.truncate(len);
            if !is_there {
                return Ok(());
            }
            index += 1;
        }
    }

    fn visit_f64<E>(self, number: f64) -> Result<(), E> {
        (self.take)(self.path, Leaf::Number(number));
        Ok(())
    }

    fn visit_u64<E>(self, number: u64) -> Result<(), E> {
        (self.take)(self.path, Leaf::Number(number as f64));
        Ok(())
    }

    fn visit_i64<E>(self, number: i64) -> Result<(), E> {
        (self.take)(self.path, Leaf::Number(number as f64));
        Ok(())
    }

    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        (self.take)(self.path, Leaf::Text(text));
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}

/// The name of a member, which is added to a path.
struct Name<'a>(&'a mut String);

impl<'de> DeserializeSeed<'de> for Name<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<(), D::Error> {
        reader.deserialize_str(self)
    }
}

impl Visitor<'_> for Name<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E>(self, name: &str) -> Result<(), E> {
        self.0.push_str(name);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn numbers(json: &str) -> Result<Vec<(String, f64)>, NotJson> {
        let mut found = Vec::new();
        walk(json.as_bytes(), &mut String::new(), |path, leaf| {
            if let Leaf::Number(number) = leaf {
                found.push((path.to_owned(), number));
            }
        })?;
        Ok(found)
    }

    #[test]
    fn every_number_has_its_path() {
        let json = r#"{"f":50.02,"p":[{"m":1},{"m":-2,"x":null}],"n":{"a\"b":3e2},"ok":true}"#;
        let expected = [("f", 50.02), ("p.0.m", 1.0), ("p.1.m", -2.0), ("n.a\"b", 300.0)];
        let expected: Vec<(String, f64)> =
            expected.iter().map(|(path, number)| ((*path).to_owned(), *number)).collect();
        assert_eq!(numbers(json), Ok(expected));
        assert_eq!(numbers("7"), Ok(vec![(String::new(), 7.0)]));
        assert_eq!(numbers("[]"), Ok(Vec::new()));
    }

    #[test]
    fn what_is_no_json_is_told() {
        for text in ["", "{", "50,02", "{\"a\":1}x", "{\"a\":1e999}", &"[".repeat(1_000)] {
            assert_eq!(numbers(text), Err(NotJson), "{text}");
        }
    }

    fn tree() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(Into::into),
            any::<i32>().prop_map(Into::into),
            "[a-z.]{0,3}".prop_map(Into::into),
        ];
        leaf.prop_recursive(4, 40, 5, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..5).prop_map(Into::into),
                proptest::collection::btree_map("[a-z]{1,3}", inner, 0..5)
                    .prop_map(|members| members.into_iter().collect()),
            ]
        })
    }

    fn flatten(value: &serde_json::Value, path: &str, found: &mut BTreeMap<String, f64>) {
        let dot = if path.is_empty() { "" } else { "." };
        let below = |step: &str| format!("{path}{dot}{step}");
        match value {
            serde_json::Value::Number(number) => {
                found.insert(path.to_owned(), number.as_f64().unwrap());
            }
            serde_json::Value::Array(items) => items
                .iter()
                .enumerate()
                .for_each(|(index, item)| flatten(item, &below(&index.to_string()), found)),
            serde_json::Value::Object(members) => {
                members.iter().for_each(|(name, member)| flatten(member, &below(name), found));
            }
            _ => {}
        }
    }

    proptest! {
        #[test]
        fn the_same_numbers_are_found_as_in_a_tree(tree in tree()) {
            let mut expected = BTreeMap::new();
            flatten(&tree, "", &mut expected);
            let found: BTreeMap<String, f64> =
                numbers(&tree.to_string()).unwrap().into_iter().collect();
            prop_assert_eq!(found, expected);
        }

        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            let mut count = 0;
            let walked = walk(&bytes, &mut String::new(), |_, _| count += 1);
            prop_assert!(walked.is_err() || count <= bytes.len());
        }
    }
}
