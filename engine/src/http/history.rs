//! A question about the past: its options, and in which format it is to be answered. Must not know
//! what is kept, or where.

use std::str::FromStr;

use crate::feed::epoch::Position;
use crate::http::instant;
use crate::http::options;
use crate::http::refusal::Refusal;
use crate::http::request::{Request, accepts};
use crate::http::status::Status;
use crate::settings::nearest::hint;
use crate::wire::history::Format;

/// Messages of an answer where the question does not say how many.
pub const LIMIT: u64 = 1_000;

/// Where an answer begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Start {
    /// With the oldest message that is kept.
    #[default]
    Oldest,
    /// Behind this position.
    After(Position),
    /// With what came then or later, ms of UTC since 1970.
    At(u64),
}

/// Where an answer ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stop {
    /// With the newest message there is when it begins.
    #[default]
    Newest,
    /// With this position.
    With(Position),
    /// With what came then, ms of UTC since 1970.
    At(u64),
}

/// A question about the past.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Question {
    /// Where the answer begins.
    pub from: Start,
    /// Where it ends.
    pub to: Stop,
    /// Messages at most; none where nothing was said.
    pub limit: Option<u64>,
    /// How it is written.
    pub format: Format,
}

/// What may be said for `from` and `to`.
const PLACES: &str = "a position ({epoch}-{seq}, as in k3-41), or a time: RFC 3339 \
                      (2026-11-29T18:00:00Z) or milliseconds since 1970";

impl FromStr for Start {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "oldest" {
            return Ok(Self::Oldest);
        }
        match (instant::parse_ms(text), text.parse()) {
            (Some(ms), _) => Ok(Self::At(ms)),
            (None, Ok(position)) => Ok(Self::After(position)),
            (None, Err(_)) => Err(format!("`oldest`, {PLACES}")),
        }
    }
}

impl FromStr for Stop {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match (instant::parse_ms(text), text.parse()) {
            (Some(ms), _) => Ok(Self::At(ms)),
            (None, Ok(position)) => Ok(Self::With(position)),
            (None, Err(_)) => Err(PLACES.to_owned()),
        }
    }
}

/// A number of messages.
pub(crate) struct Limit(pub(crate) u64);

impl FromStr for Limit {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
        let number = text.parse().ok().filter(|number| is_number && *number > 0);
        number.map(Self).ok_or("a whole number of messages, 1 or more")
    }
}

/// A word of the option `format`.
pub(crate) struct Word(pub(crate) Format);

impl FromStr for Word {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let unknown = || format!("unknown value: {}", hint(text, Format::WORDS));
        Format::of(text).map(Self).ok_or_else(unknown)
    }
}

impl Question {
    /// Reads the options, and `Accept` where they name no format.
    ///
    /// # Errors
    /// 400 that names the option, or 406.
    pub fn of(request: &Request) -> Result<Self, Refusal> {
        let (mut from, mut to, mut limit, mut format) = (None, None, None, None);
        for (key, value) in options::pairs(request.query.as_deref())? {
            match key.as_str() {
                "from" => options::set(&mut from, &key, &value)?,
                "to" => options::set(&mut to, &key, &value)?,
                "limit" => options::set(&mut limit, &key, &value)?,
                "format" => options::set(&mut format, &key, &value)?,
                _ => return Err(options::unknown_key(&key, &["from", "to", "limit", "format"])),
            }
        }
        let format = match format {
            Some(Word(format)) => format,
            None => format_of(request, Format::Ndjson)?,
        };
        let limit = limit.map(|Limit(limit)| limit);
        Ok(Self { from: from.unwrap_or_default(), to: to.unwrap_or_default(), limit, format })
    }
}

/// The first format that the client takes; `otherwise` where it takes any: lines can be read while
/// they come.
///
/// # Errors
/// 406 where it takes none.
pub(crate) fn format_of(request: &Request, otherwise: Format) -> Result<Format, Refusal> {
    let Some(accept) = request.headers.accept.as_deref() else { return Ok(otherwise) };
    let accept = Some(accept);
    let taken = [Format::Ndjson, Format::Json, Format::Binary];
    // Who names a type exactly wants that one, whatever else it would take.
    let named = taken.iter().find(|format| accepts(accept, &[format.media_type()]));
    let named = named.copied().or_else(|| {
        if accepts(accept, &["application/ndjson"]) {
            return Some(Format::Ndjson);
        }
        accepts(accept, &["application/*", "*/*"]).then_some(otherwise)
    });
    let message = "messages are written as application/x-ndjson, application/json or \
                   application/octet-stream (Accept, or the option `format`)";
    named.ok_or_else(|| Refusal::new(Status::NotAcceptable, message))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::feed::epoch::Epoch;

    fn question(query: &str, headers: &str) -> Result<Question, Refusal> {
        let text = format!("GET /v1/history/a?{query} HTTP/1.1\r\nHost: h\r\n{headers}\r\n");
        let (request, _) = Request::parse(text.as_bytes(), 4096).unwrap().unwrap();
        Question::of(&request)
    }

    #[test]
    fn positions_and_times_are_told_apart() {
        let asked = question("from=k3-41&to=2025-11-29T19:00:00%2B01:00&limit=7", "").unwrap();
        let position = Position { epoch: Epoch(723), seq: 41 };
        assert_eq!(asked.from, Start::After(position));
        assert_eq!((asked.to, asked.limit), (Stop::At(1_764_439_200_000), Some(7)));
        let asked = question("from=1764439200000&to=k3-41", "").unwrap();
        assert_eq!((asked.from, asked.to), (Start::At(1_764_439_200_000), Stop::With(position)));
        assert_eq!(question("from=oldest", "").unwrap(), Question::default());
        assert_eq!(question("", "").unwrap(), Question::default());
    }

    #[test]
    fn the_format_is_said_or_accepted() {
        let accept = |accept: &str| format!("Accept: {accept}\r\n");
        for (query, accepted, format) in [
            ("", "", Some(Format::Ndjson)),
            ("", "*/*", Some(Format::Ndjson)),
            ("", "application/json, */*", Some(Format::Json)),
            ("", "application/octet-stream", Some(Format::Binary)),
            ("", "application/x-ndjson, application/json", Some(Format::Ndjson)),
            ("", "text/html", None),
            ("", "*/*;q=0", None),
            ("format=binary", "text/html", Some(Format::Binary)),
            ("format=json", "", Some(Format::Json)),
        ] {
            let headers = if accepted.is_empty() { String::new() } else { accept(accepted) };
            let asked = question(query, &headers);
            assert_eq!(asked.map(|asked| asked.format).ok(), format, "{query} {accepted}");
        }
    }

    #[test]
    fn what_is_wrong_is_named_with_what_is_right() {
        for (query, message) in [
            ("form=1", "unknown option `form`: did you mean `from`?"),
            ("limit=0", "option `limit`: a whole number of messages, 1 or more"),
            ("limit=%2B1", "option `limit`: a whole number of messages, 1 or more"),
            ("format=jsn", "option `format`: unknown value: did you mean `json`?"),
            ("from=a&from=b", "option `from`: `oldest`, a position"),
            ("to=oldest", "option `to`: a position ({epoch}-{seq}, as in k3-41), or a time"),
        ] {
            let refusal = question(query, "").unwrap_err();
            assert_eq!(refusal.status, Status::BadRequest);
            assert!(refusal.message.starts_with(message), "{}", refusal.message);
        }
    }
}
