//! Values of settings that are written as texts and mean something else. Owns how they are read.
//! Must not know any of them.

use std::fmt::Display;
use std::str::FromStr;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

/// What a text means.
///
/// # Errors
/// What the type says is wrong with it.
pub fn from_text<'de, D: Deserializer<'de>, T: FromStr<Err: Display>>(
    deserializer: D,
) -> Result<T, D::Error> {
    String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
}

/// None for an empty text.
///
/// # Errors
/// As [`from_text`].
pub fn from_text_if_any<'de, D: Deserializer<'de>, T: FromStr<Err: Display>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    let text = String::deserialize(deserializer)?;
    let value = (!text.is_empty()).then(|| text.parse().map_err(D::Error::custom));
    value.transpose()
}

/// What each of some texts means.
///
/// # Errors
/// As [`from_text`], with the text.
pub fn from_texts<'de, D: Deserializer<'de>, T: FromStr<Err: Display>>(
    deserializer: D,
) -> Result<Vec<T>, D::Error> {
    let texts = Vec::<String>::deserialize(deserializer)?;
    let parse = |text: String| text.parse().map_err(|error| format!("`{text}`: {error}"));
    texts.into_iter().map(parse).collect::<Result<_, _>>().map_err(D::Error::custom)
}
