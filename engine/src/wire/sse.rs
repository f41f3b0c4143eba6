//! Server-Sent Events, each as one HTTP chunk, as a lane keeps and a socket sends them. Must not
//! know feeds.

use crate::feed::epoch::{Epoch, Position};
use crate::feed::gap::Gap;
use crate::frame::Kind;
use crate::wire::chunked;
use crate::wire::data64;
use crate::wire::gap;
use crate::wire::text;

/// Appends one frame. Binary payloads travel as base64 under `event: binary`.
pub fn event(out: &mut Vec<u8>, epoch: Epoch, seq: u64, kind: Kind, payload: &[u8]) {
    chunk(out, |out| {
        text::text(out, format_args!("id: {}\n", Position { epoch, seq }));
        match kind {
            Kind::Text => text(out, payload),
            Kind::Binary => binary(out, payload),
        }
    });
}

/// Appends the notice that frames are missing. It has no id, so a client that reconnects still
/// names the last frame it got.
pub fn gap(out: &mut Vec<u8>, gap: Gap) {
    chunk(out, |out| {
        out.extend_from_slice(b"event: gap\ndata: {");
        gap::members(out, gap);
        out.extend_from_slice(b"}\n");
    });
}

/// Appends the notice that the engine ends the stream.
pub fn close(out: &mut Vec<u8>, code: u16, reason: &str) {
    let data = serde_json::json!({"code": code, "reason": reason});
    chunk(out, |out| text::text(out, format_args!("event: close\ndata: {data}\n")));
}

/// Appends how long the client should wait before it reconnects.
pub fn retry(out: &mut Vec<u8>, delay_ms: u64) {
    chunk(out, |out| text::text(out, format_args!("retry: {delay_ms}\n")));
}

/// Appends what a stream begins with: some proxies pass its head on only with the first byte of its
/// body, and a browser would wait before its next attempt as long as it was told to at some time
/// before.
pub fn begin(out: &mut Vec<u8>, retry_ms: u64) {
    chunk(out, |out| text::text(out, format_args!(": ping\nretry: {retry_ms}\n")));
}

/// Appends a comment, which shows both ends and everything between them that the stream lives.
pub fn ping(out: &mut Vec<u8>) {
    chunk(out, |out| out.extend_from_slice(b": ping\n"));
}

/// Appends the empty chunk that ends the response.
pub fn end(out: &mut Vec<u8>) {
    chunked::end(out);
}

/// Appends one chunk with an event written by `body`, and the empty line that ends the event.
fn chunk(out: &mut Vec<u8>, body: impl FnOnce(&mut Vec<u8>)) {
    chunked::chunk(out, |out| {
        body(out);
        out.push(b'\n');
    });
}

/// A line break of any kind ends a field, so each line of the payload gets a field of its own.
fn text(out: &mut Vec<u8>, payload: &[u8]) {
    let mut rest = payload;
    loop {
        let end = rest.iter().position(|&b| b == b'\n' || b == b'\r');
        let (line, tail) = rest.split_at(end.unwrap_or(rest.len()));
        out.extend_from_slice(b"data: ");
        out.extend_from_slice(line);
        out.push(b'\n');
        rest = match tail {
            [b'\r', b'\n', next @ ..] | [_, next @ ..] => next,
            [] => return,
        };
    }
}

fn binary(out: &mut Vec<u8>, payload: &[u8]) {
    out.extend_from_slice(b"event: binary\ndata: ");
    data64::append(out, payload);
    out.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::feed::gap::GapReason;
    use crate::wire::chunked::chunk_len;
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    use proptest::prelude::*;

    /// An event as a browser would dispatch it.
    #[derive(Debug, Default, PartialEq)]
    struct Dispatched {
        id: String,
        event: String,
        data: String,
    }

    /// The parsing rules of the HTML standard, for one event.
    fn dispatch(event: &str) -> Dispatched {
        let mut dispatched = Dispatched::default();
        let mut data: Vec<&str> = Vec::new();
        for line in event.split(['\n', '\r']).filter(|line| !line.is_empty()) {
            let (field, value) = line.split_once(": ").unwrap();
            match field {
                "id" => dispatched.id = value.to_owned(),
                "event" => dispatched.event = value.to_owned(),
                "data" => data.push(value),
                other => panic!("unknown field {other:?}"),
            }
        }
        dispatched.data = data.join("\n");
        dispatched
    }

    /// The content of the one chunk that `bytes` must be, by another parser.
    fn content(bytes: &[u8]) -> &str {
        assert_eq!(chunk_len(bytes), Some(bytes.len() as u64));
        let Ok(httparse::Status::Complete((start, size))) = httparse::parse_chunk_size(bytes)
        else {
            panic!("no chunk size")
        };
        let end = start + usize::try_from(size).unwrap();
        assert_eq!(&bytes[end..], b"\r\n");
        std::str::from_utf8(&bytes[start..end]).unwrap()
    }

    #[test]
    fn the_forms_are_the_documented_ones() {
        let mut out = Vec::new();
        event(&mut out, Epoch(723), 41, Kind::Text, b"a\r\nb\rc\n");
        assert_eq!(content(&out), "id: k3-41\ndata: a\ndata: b\ndata: c\ndata: \n\n");
        out.clear();
        event(&mut out, Epoch(723), 42, Kind::Binary, &[0, 255]);
        assert_eq!(content(&out), "id: k3-42\nevent: binary\ndata: AP8=\n\n");
        out.clear();
        gap(&mut out, Gap { from: 44, to: 90, frames: Some(47), reason: GapReason::Lagged });
        assert_eq!(
            content(&out),
            "event: gap\ndata: {\"from\":44,\"to\":90,\"frames\":47,\"reason\":\"lagged\"}\n\n"
        );
        out.clear();
        close(&mut out, 4409, "a \"b\"");
        assert_eq!(
            content(&out),
            "event: close\ndata: {\"code\":4409,\"reason\":\"a \\\"b\\\"\"}\n\n"
        );
        out.clear();
        ping(&mut out);
        assert_eq!(content(&out), ": ping\n\n");
        out.clear();
        retry(&mut out, 1500);
        assert_eq!(content(&out), "retry: 1500\n\n");
        out.clear();
        begin(&mut out, 1500);
        assert_eq!(content(&out), ": ping\nretry: 1500\n\n");
        out.clear();
        end(&mut out);
        assert_eq!(content(&out), "");
    }

    #[test]
    fn a_size_line_that_is_incomplete_has_no_length() {
        let mut out = Vec::new();
        ping(&mut out);
        for cut in 0..8 {
            assert_eq!(chunk_len(&out[..cut]), None);
        }
        assert_eq!(chunk_len(b"0000000g\r\n"), None);
    }

    proptest! {
        #[test]
        fn a_browser_gets_the_payload(text in "[a:\n\r é]{0,40}", seq in any::<u64>()) {
            let mut out = b"before".to_vec();
            event(&mut out, Epoch(723), seq, Kind::Text, text.as_bytes());
            let expected = Dispatched {
                id: format!("k3-{seq}"),
                event: String::new(),
                data: text.replace("\r\n", "\n").replace('\r', "\n"),
            };
            prop_assert_eq!(dispatch(content(&out[6..])), expected);
        }

        #[test]
        fn binary_survives(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let mut out = Vec::new();
            event(&mut out, Epoch(0), 1, Kind::Binary, &bytes);
            let dispatched = dispatch(content(&out));
            prop_assert_eq!(dispatched.event, "binary");
            prop_assert_eq!(STANDARD.decode(dispatched.data).unwrap(), bytes);
        }
    }
}
