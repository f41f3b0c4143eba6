//! Requests: head, route and body. A head ends in one place only, an answer to a refusal is always
//! whole, and a body is the same however reads cut it. Owns no rule of HTTP.
#![no_main]

use gridcast::http::body::{Body, Framing};
use gridcast::http::request::Request;
use gridcast::http::route::{Door, Route, Settings};
use libfuzzer_sys::fuzz_target;

const HEADER_BYTES_MAX: u32 = 1024;
const BODY_BYTES_MAX: u32 = 300;

fuzz_target!(|data: &[u8]| {
    let Ok(Some((request, bytes))) = Request::parse(data, HEADER_BYTES_MAX) else { return };
    assert!((1..=data.len().min(HEADER_BYTES_MAX as usize)).contains(&bytes));
    let short = Request::parse(&data[..bytes - 1], HEADER_BYTES_MAX);
    assert!(matches!(short, Ok(None)), "a head that ends twice: {short:?}");
    let settings = Settings {
        echo: true,
        body_bytes_max: BODY_BYTES_MAX,
        door: Door::All,
        console: true,
        wall: true,
    };
    // Pretending to serve it: what it answers is of no matter here, only that it does.
    let _ = Route::of(&request, settings);
    let Ok(framing) = Framing::of(&request) else { return };
    let body = &data[bytes..];
    let whole = read(framing, body, body.len().max(1));
    for piece_bytes in [1, 2, 7] {
        assert_eq!(read(framing, body, piece_bytes), whole, "cut into {piece_bytes}");
    }
});

/// What a body that comes in pieces is: its bytes and where it ended, or a status.
fn read(framing: Framing, stream: &[u8], piece_bytes: usize) -> Result<(Vec<u8>, usize), u16> {
    let mut body = Body::new(framing, BODY_BYTES_MAX).map_err(|refusal| refusal.status.number())?;
    let (mut buffer, mut end) = (Vec::new(), 0);
    for piece in stream.chunks(piece_bytes) {
        buffer.extend_from_slice(piece);
        let progress = body.read(&buffer).map_err(|refusal| refusal.status.number())?;
        assert!(progress.consumed <= buffer.len());
        buffer.drain(..progress.consumed);
        end += progress.consumed;
        if progress.is_complete {
            break;
        }
    }
    let payload = body.into_bytes();
    assert!(payload.len() <= BODY_BYTES_MAX as usize, "a body of {}", payload.len());
    Ok((payload, end))
}
