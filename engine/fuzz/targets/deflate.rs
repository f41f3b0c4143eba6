//! Deflated messages from clients: never more than the bound comes out, one message leaves nothing
//! behind for the next but where that is meant, and then no more than two windows of memory, and
//! what the engine deflates it inflates to the same. What is agreed of an offer is within RFC 7692,
//! and is what the answer says. Owns no codec.
#![no_main]

use gridcast::wire::deflate;
use gridcast::wire::deflate::{Context, Inflater};
use gridcast::http::extensions;
use gridcast::http::extensions::Agreed;
use libfuzzer_sys::fuzz_target;

const BYTES_MAX: usize = 10_000;

fuzz_target!(|data: &[u8]| {
    if let Some(agreed) = std::str::from_utf8(data).ok().and_then(negotiated) {
        assert!((8..=15).contains(&agreed.server_window_bits()), "{agreed:?}");
        // What is granted is what was asked for.
        assert_eq!(negotiated(&agreed.header()), Some(agreed));
    }
    let mut used = Inflater::default();
    let first = used.message(data, BYTES_MAX);
    let again = used.message(data, BYTES_MAX);
    assert_eq!(first, again, "the message before shows");
    if let Ok(bytes) = &first {
        assert!(bytes.len() <= BYTES_MAX, "{} bytes", bytes.len());
    }
    let mut context = Context::default();
    assert_eq!(used.message_in(&mut context, data, BYTES_MAX), first, "there was nothing before");
    // Whatever it makes of what it may now refer to.
    let _ = used.message_in(&mut context, data, BYTES_MAX);
    assert!(context.memory_bytes() <= 64 << 10, "{} bytes", context.memory_bytes());
    let mut deflated = Vec::new();
    deflate::message(&mut deflated, 8, 1, data);
    assert_eq!(used.message(&deflated, data.len()).as_deref(), Ok(data));
});

fn negotiated(header: &str) -> Option<Agreed> {
    extensions::negotiate(Some(header), true)
}
