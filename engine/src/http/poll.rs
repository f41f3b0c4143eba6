//! A question for what comes next: its options. Must not know what is kept, or how long anybody may
//! wait.

use std::str::FromStr;

use crate::feed::options::From;
use crate::http::history::{Limit, Word, format_of};
use crate::http::options;
use crate::http::refusal::Refusal;
use crate::http::request::Request;
use crate::wire::history::Format;

/// A question for what comes next.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Question {
    /// Where the answer begins, as for a subscription.
    pub from: From,
    /// How long to wait where there is nothing yet, ms; none where nothing was said.
    pub wait_ms: Option<u64>,
    /// Messages at most; none where nothing was said.
    pub limit: Option<u64>,
    /// How it is written.
    pub format: Format,
}

const KEYS: [&str; 4] = ["from", "wait", "limit", "format"];

/// A time to wait.
struct Wait(u64);

impl FromStr for Wait {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
        let number = text.parse().ok().filter(|_| is_number);
        number.map(Self).ok_or("a whole number of milliseconds")
    }
}

impl Question {
    /// Reads the options, and `Accept` where they name no format.
    ///
    /// # Errors
    /// 400 that names the option, or 406.
    pub fn of(request: &Request) -> Result<Self, Refusal> {
        let (mut from, mut wait, mut limit, mut format) = (None, None, None, None);
        for (key, value) in options::pairs(request.query.as_deref())? {
            match key.as_str() {
                "from" => options::set(&mut from, &key, &value)?,
                "wait" => options::set(&mut wait, &key, &value)?,
                "limit" => options::set(&mut limit, &key, &value)?,
                "format" => options::set(&mut format, &key, &value)?,
                _ => return Err(options::unknown_key(&key, &KEYS)),
            }
        }
        let format = match format {
            Some(Word(format)) => format,
            None => format_of(request, Format::Json)?,
        };
        let (wait_ms, limit) = (wait.map(|Wait(ms)| ms), limit.map(|Limit(limit)| limit));
        Ok(Self { from: from.unwrap_or_default(), wait_ms, limit, format })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::feed::epoch::Epoch;

    fn question(query: &str, headers: &str) -> Result<Question, Refusal> {
        let text = format!("GET /v1/poll/a?{query} HTTP/1.1\r\nHost: h\r\n{headers}\r\n");
        let (request, _) = Request::parse(text.as_bytes(), 4096).unwrap().unwrap();
        Question::of(&request)
    }

    #[test]
    fn all_options_are_read_and_none_is_needed() {
        let asked = question("from=k3-41&wait=250&limit=7&format=ndjson", "").unwrap();
        let from = From::After { epoch: Epoch(723), seq: 41 };
        let format = Format::Ndjson;
        assert_eq!(asked, Question { from, wait_ms: Some(250), limit: Some(7), format });
        let none = Question { format: Format::Json, ..Question::default() };
        assert_eq!(question("", ""), Ok(none.clone()));
        assert_eq!(question("from=latest", "Accept: text/html, */*\r\n"), Ok(none));
        let asked = question("", "Accept: application/x-ndjson\r\n").unwrap();
        assert_eq!(asked.format, Format::Ndjson);
    }

    #[test]
    fn what_is_wrong_is_named_with_what_is_right() {
        for (query, message) in [
            ("form=1", "unknown option `form`: did you mean `from`?"),
            ("wait=1s", "option `wait`: a whole number of milliseconds"),
            ("wait=-1", "option `wait`: a whole number of milliseconds"),
            ("wait=", "option `wait`: a whole number of milliseconds"),
            ("limit=0", "option `limit`: a whole number of messages, 1 or more"),
            ("from=lest", "option `from`: unknown value `lest`: did you mean `last`?"),
            ("wait=1&wait=2", "option `wait` twice"),
        ] {
            let refusal = question(query, "").unwrap_err();
            assert_eq!((refusal.status.number(), refusal.message.as_ref()), (400, message));
        }
        assert_eq!(question("", "Accept: text/html\r\n").unwrap_err().status.number(), 406);
    }
}
