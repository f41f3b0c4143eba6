//! What Redis answers, and the record of a domain: whoever may write to the engine may have put
//! anything there. What is taken has numbers that positions can hold. Input: an answer as it comes
//! over the wire, or the text of a record.
#![no_main]

use gridcast::feed::positions::{SEQUENCE_MAX, in_log};
use gridcast_connectors::backplane::record::Record;
use gridcast_connectors::backplane::redis::log::entries;
use gridcast_connectors::backplane::settings::Mode;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Some(stored) = redis::parse_redis_value(data).ok().and_then(entries) {
        let held: usize = stored.iter().map(|one| one.bytes.len()).sum();
        assert!(held < data.len(), "{held} bytes out of {}", data.len());
        assert!(stored.iter().all(|one| one.sequence <= SEQUENCE_MAX));
        assert!(stored.iter().all(|one| one.pending < stored.len() as u64));
    }
    for (mode, shards) in [(Mode::Log, 1), (Mode::Relay, 1)] {
        let Ok(record) = Record::agree(data, mode, shards) else { continue };
        assert!((1..=SEQUENCE_MAX + 1).contains(&record.from), "{record:?}");
        assert!(in_log(record.from, 0) > 0);
        let again = Record::agree(record.to_text().as_bytes(), mode, shards);
        assert_eq!(again, Ok(record));
    }
});
