//! The PROXY header: whole only at its end, within its bound, and the same whatever follows it.
//! Input: what a balancer sends first. Owns no rule of the header.
#![no_main]

use gridcast::net::proxy::{HEADER_BYTES_MAX, Header};
use gridcast::settings::choices::Versions;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let parsed = Header::parse(data, Versions::Any);
    for one in [Versions::V1, Versions::V2] {
        let alone = Header::parse(data, one);
        assert!(alone == parsed || alone.is_err() || parsed == Ok(None), "{one:?}: {alone:?}");
    }
    match parsed {
        Ok(Some(header)) => ends_there(data, header),
        Ok(None) => assert!(data.len() < HEADER_BYTES_MAX, "waits for ever"),
        Err(error) => {
            let more = [data, b"\r\n"].concat();
            assert_eq!(Header::parse(&more, Versions::Any), Err(error), "refused, then not");
        }
    }
});

fn ends_there(data: &[u8], header: Header) {
    assert!((1..=data.len().min(HEADER_BYTES_MAX)).contains(&header.bytes));
    let exact = &data[..header.bytes];
    assert_eq!(Header::parse(exact, Versions::Any), Ok(Some(header)));
    let short = Header::parse(&exact[..exact.len() - 1], Versions::Any);
    assert_eq!(short, Ok(None), "a header that ends twice");
}
