//! Long polling: takes answers of `/v1/poll` apart, in their binary form, and writes the request
//! that goes on behind each. Pure; must not judge frames, and must not know sockets.

use crate::codec::events::EventId;
use crate::codec::wire;
use crate::codec::wire::Gap;

/// The state that one socket keeps between reads.
#[derive(Debug)]
pub struct Polls {
    /// The request for what follows, up to the position and from there on.
    request: [String; 2],
    /// Bytes of an incomplete answer.
    rest: Vec<u8>,
    /// Length of the body that is read.
    body_bytes: Option<usize>,
}

/// What an answer holds.
#[derive(Debug, PartialEq, Eq)]
pub enum Item<'b> {
    /// A frame, and where it stands.
    Frame(EventId, &'b [u8]),
    /// Frames are missing.
    Gap(Gap),
}

impl Polls {
    /// Behind the head of the first answer. `request` is what asks for the next, around the
    /// position.
    pub fn new(request: [String; 2], body_bytes: usize) -> Polls {
        Polls { request, rest: Vec::new(), body_bytes: Some(body_bytes) }
    }

    /// Parses bytes and passes what whole answers hold to `sink`. The next request is appended to
    /// `out`.
    ///
    /// # Errors
    /// Why the connection is over.
    pub fn take(
        &mut self,
        bytes: &[u8],
        answer_bytes_max: usize,
        out: &mut Vec<u8>,
        mut sink: impl FnMut(Item<'_>),
    ) -> Result<(), String> {
        self.rest.extend_from_slice(bytes);
        loop {
            let Some(body_bytes) = self.body_bytes else {
                if self.take_head()? {
                    continue;
                }
                break;
            };
            if body_bytes > answer_bytes_max {
                return Err("protocol: answer longer than any asked for".to_owned());
            }
            let Some(body) = self.rest.get(..body_bytes) else { break };
            let next = read_body(body, &mut sink).ok_or("protocol: malformed answer")?;
            let [before, after] = &self.request;
            out.extend_from_slice(format!("{before}{next}{after}").as_bytes());
            self.rest.drain(..body_bytes);
            self.body_bytes = None;
        }
        if self.rest.is_empty() {
            self.rest = Vec::new();
        }
        Ok(())
    }

    /// Passes over the head of an answer; false while it is incomplete.
    fn take_head(&mut self) -> Result<bool, String> {
        let Some(end) = self.rest.windows(4).position(|bytes| bytes == b"\r\n\r\n") else {
            let too_long = self.rest.len() > HEAD_BYTES_MAX;
            return if too_long { Err("protocol: endless head".to_owned()) } else { Ok(false) };
        };
        let head = String::from_utf8_lossy(&self.rest[..end]).into_owned();
        let status = head.get(9..12).unwrap_or_default();
        if status != "200" {
            return Err(format!("status {status}"));
        }
        let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
        let length = length.and_then(|length| length.trim().parse().ok());
        self.body_bytes = Some(length.ok_or("protocol: answer without a length")?);
        self.rest.drain(..end + 4);
        Ok(true)
    }
}

/// Passes the records of a body on; answers where to go on.
fn read_body(mut body: &[u8], sink: &mut impl FnMut(Item<'_>)) -> Option<EventId> {
    let mut next = None;
    while !body.is_empty() {
        let (length, rest) = body.split_first_chunk::<4>()?;
        let (record, rest) = rest.split_at_checked(u32::from_be_bytes(*length) as usize)?;
        body = rest;
        match record.split_first()? {
            (&NOTICE, notice) => match wire::gap_of(notice) {
                Some(gap) => sink(Item::Gap(gap)),
                None => next = Some(position_of(notice)?),
            },
            (_, frame) => {
                let (id, payload) = read_frame(frame)?;
                sink(Item::Frame(id, payload));
            }
        }
    }
    next
}

/// `varint time_ms · varint epoch · varint seq · varint topic length · topic · payload`.
fn read_frame(mut frame: &[u8]) -> Option<(EventId, &[u8])> {
    let _time_ms = varint(&mut frame)?;
    let (epoch, seq) = (varint(&mut frame)?, varint(&mut frame)?);
    let topic_bytes = usize::try_from(varint(&mut frame)?).ok()?;
    Some((EventId { epoch, seq }, frame.get(topic_bytes..)?))
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7F) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

/// The position in `{"end":{"next":"k1-7",…}}`.
fn position_of(end: &[u8]) -> Option<EventId> {
    let (_, next) = std::str::from_utf8(end).ok()?.split_once("\"next\":\"")?;
    EventId::parse(next.split_once('"')?.0.as_bytes())
}

/// The first byte of what is no frame.
const NOTICE: u8 = 2;
const HEAD_BYTES_MAX: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    fn record(first: u8, rest: &[u8]) -> Vec<u8> {
        let length = (rest.len() as u32 + 1).to_be_bytes();
        [&length, &[first][..], rest].concat()
    }

    fn body() -> Vec<u8> {
        [
            record(2, br#"{"gap":{"from":2,"to":4,"frames":3,"reason":"expired"}}"#),
            record(0, b"\xe8\x07\xd3\x05\x05\x01a\x00\xff"),
            record(1, b"\xe8\x07\xd3\x05\x06\x01atext"),
            record(2, br#"{"end":{"next":"k3-6","records":2,"complete":true}}"#),
        ]
        .concat()
    }

    fn polls() -> Polls {
        let request = ["GET /p&from=".to_owned(), " HTTP/1.1\r\n\r\n".to_owned()];
        Polls::new(request, body().len())
    }

    fn told(item: &Item<'_>) -> String {
        match item {
            Item::Frame(id, payload) => format!("{id} {payload:?}"),
            Item::Gap(_) => "gap".to_owned(),
        }
    }

    #[test]
    fn answers_are_taken_apart_however_they_come() {
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body().len());
        let stream = [&body(), head.as_bytes(), &body()].concat();
        let one = ["gap", "k3-5 [0, 255]", "k3-6 [116, 101, 120, 116]"];
        for step in [1, 7, 50, stream.len()] {
            let (mut polls, mut out, mut items) = (polls(), Vec::new(), Vec::new());
            for part in stream.chunks(step) {
                polls.take(part, 1_000, &mut out, |item| items.push(told(&item))).unwrap();
            }
            assert_eq!(items, [one, one].concat(), "{step}");
            let asked = "GET /p&from=k3-6 HTTP/1.1\r\n\r\n".repeat(2);
            assert_eq!(String::from_utf8(out).unwrap(), asked);
        }
    }

    #[test]
    fn what_is_no_answer_ends_it() {
        let mut none = Vec::new();
        assert!(polls().take(&body()[..20], 10, &mut none, |_| ()).is_err(), "too long");
        for (answer, reason) in [
            ("HTTP/1.1 503 No\r\n\r\n", "status 503"),
            ("HTTP/1.1 200 OK\r\n\r\n", "protocol: answer without a length"),
        ] {
            let mut polls = polls();
            polls.take(&body(), 1_000, &mut none, |_| ()).unwrap();
            let ended = polls.take(answer.as_bytes(), 1_000, &mut none, |_| ());
            assert_eq!(ended, Err(reason.to_owned()));
        }
        let mut cut = Polls::new(Default::default(), 5);
        assert!(cut.take(b"\0\0\0\x09x", 1_000, &mut none, |_| ()).is_err());
    }
}
