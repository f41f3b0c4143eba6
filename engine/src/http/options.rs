//! The query parameters of a subscription. Unknown and repeated ones are refused, never ignored.
//! Must not act on them; `feed::options` says what can be chosen.

use crate::feed::options::{LATEST_AND_LAG, Mode, Options};
use crate::http::refusal::Refusal;
use crate::settings::nearest::hint;
use percent_encoding::percent_decode_str;
use std::fmt::Display;
use std::str::FromStr;

const KEYS: [&str; 4] = ["from", "mode", "lag", "rate"];

/// Reads `from`, `mode`, `lag` and `rate`.
///
/// # Errors
/// 400 that names the key or value, and the nearest right one.
pub fn parse(query: Option<&str>) -> Result<Options, Refusal> {
    choose(pairs(query)?)
}

/// As [`parse`], and the id of the last event that a client has, which those that cannot set
/// headers send as an option.
///
/// # Errors
/// As [`parse`].
pub fn parse_resumable(query: Option<&str>) -> Result<(Options, Option<String>), Refusal> {
    let (mut ids, others): (Vec<_>, Vec<_>) =
        pairs(query)?.into_iter().partition(|(key, _)| is_last_event_id(key));
    if ids.len() > 1 {
        return Err(Refusal::bad("option `lastEventId` twice"));
    }
    let id = ids.pop().map(|(_, id)| id).filter(|id| !id.is_empty());
    Ok((choose(others)?, id))
}

/// `lastEventId` is the spelling of most clients, but not of all.
fn is_last_event_id(key: &str) -> bool {
    key.replace(['-', '_'], "").eq_ignore_ascii_case("lastEventId")
}

fn choose(pairs: Vec<(String, String)>) -> Result<Options, Refusal> {
    let (mut from, mut mode, mut lag, mut rate) = (None, None, None, None);
    for (key, value) in pairs {
        match key.as_str() {
            "from" => set(&mut from, &key, &value)?,
            "mode" => set(&mut mode, &key, &value)?,
            "lag" => set(&mut lag, &key, &value)?,
            "rate" => set(&mut rate, &key, &value)?,
            _ => return Err(unknown_key(&key, &KEYS)),
        }
    }
    let (from, mode) = (from.unwrap_or_default(), mode.unwrap_or_default());
    if mode == Mode::Latest && lag.is_some() {
        return Err(Refusal::bad(LATEST_AND_LAG));
    }
    Ok(Options { from, mode, rate, lag })
}

/// Reads the one option of the multiplexed endpoint: whether the client wants to be greeted.
///
/// # Errors
/// As [`parse`].
pub fn parse_hello(query: Option<&str>) -> Result<bool, Refusal> {
    let mut hello: Option<Hello> = None;
    for (key, value) in pairs(query)? {
        match key.as_str() {
            "hello" => set(&mut hello, &key, &value)?,
            _ => return Err(unknown_key(&key, &["hello"])),
        }
    }
    Ok(hello.is_some())
}

/// The value of `hello`, of which there is one.
struct Hello;

impl FromStr for Hello {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "1" { Ok(Self) } else { Err("the only value is 1") }
    }
}

/// For endpoints without options.
///
/// # Errors
/// 400 that names the first key.
pub fn refuse_any(query: Option<&str>) -> Result<(), Refusal> {
    match pairs(query)?.first() {
        Some((key, _)) => Err(Refusal::bad(format!("unknown option `{key}`: there are none here"))),
        None => Ok(()),
    }
}

/// The options of a query, percent-decoded.
///
/// # Errors
/// 400 where one is not UTF-8.
pub(crate) fn pairs(query: Option<&str>) -> Result<Vec<(String, String)>, Refusal> {
    let parts = query.unwrap_or_default().split('&').filter(|part| !part.is_empty());
    parts
        .map(|part| {
            let (key, value) = part.split_once('=').unwrap_or((part, ""));
            Ok((decode(key)?, decode(value)?))
        })
        .collect()
}

fn decode(text: &str) -> Result<String, Refusal> {
    match percent_decode_str(text).decode_utf8() {
        Ok(text) => Ok(text.into_owned()),
        Err(_) => Err(Refusal::bad("an option is not UTF-8")),
    }
}

/// Takes an option in, of which there is one.
///
/// # Errors
/// 400 where its value is wrong, or it was there before.
pub(crate) fn set<T: FromStr<Err: Display>>(
    slot: &mut Option<T>,
    key: &str,
    value: &str,
) -> Result<(), Refusal> {
    if slot.is_some() {
        return Err(Refusal::bad(format!("option `{key}` twice")));
    }
    let chosen = value.parse().map_err(|error| Refusal::bad(format!("option `{key}`: {error}")))?;
    *slot = Some(chosen);
    Ok(())
}

/// 400 with the nearest right key.
pub(crate) fn unknown_key(key: &str, known: &[&str]) -> Refusal {
    Refusal::bad(format!("unknown option `{key}`: {}", hint(key, known)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::feed::epoch::Epoch;
    use crate::feed::options::{From, LagPolicy, Rate};

    #[test]
    fn nothing_said_is_the_default() {
        assert_eq!(parse(None), Ok(Options::default()));
        assert_eq!(parse(Some("&")), Ok(Options::default()));
        assert_eq!(Options::default().from, From::Latest);
    }

    #[test]
    fn choices_are_read_and_percent_decoded() {
        let expected = Options {
            from: From::After { epoch: Epoch(723), seq: 7 },
            mode: Mode::Lossless,
            rate: Some(Rate::new(10).unwrap()),
            lag: Some(LagPolicy::SkipToOldest),
        };
        let query = "from=k3%2D7&mode=lossless&rate=10&lag=skip-to-oldest";
        assert_eq!(parse(Some(query)), Ok(expected));
    }

    #[test]
    fn what_is_wrong_is_named_with_what_is_right() {
        for (query, message) in [
            ("fron=last", "unknown option `fron`: did you mean `from`?"),
            ("from=lest", "option `from`: unknown value `lest`: did you mean `last`?"),
            ("mode", "option `mode`: unknown value ``: known are lossless, latest"),
            ("from=last&from=last", "option `from` twice"),
            ("rate=0", "option `rate`: a whole number from 1 to 1000 frames a second"),
            ("a=%FF", "an option is not UTF-8"),
            ("xyzzy=1", "unknown option `xyzzy`: known are from, mode, lag, rate"),
        ] {
            let refusal = parse(Some(query)).unwrap_err();
            assert_eq!((refusal.status.number(), refusal.message.as_ref()), (400, message));
        }
        assert!(parse(Some("mode=latest&lag=disconnect")).is_err());
        for (query, message) in [
            ("hello=0", "option `hello`: the only value is 1"),
            ("hello", "option `hello`: the only value is 1"),
            ("hello=1&hello=1", "option `hello` twice"),
            ("helo=1", "unknown option `helo`: did you mean `hello`?"),
            ("from=last", "unknown option `from`: known are hello"),
        ] {
            let refusal = parse_hello(Some(query)).unwrap_err();
            assert_eq!((refusal.status.number(), refusal.message.as_ref()), (400, message));
        }
        assert_eq!((parse_hello(Some("hello=1")), parse_hello(None)), (Ok(true), Ok(false)));
        assert!(parse(Some("hello=1")).is_err());
        assert!(refuse_any(Some("from=last")).is_err());
        assert!(refuse_any(None).is_ok());
    }
}
