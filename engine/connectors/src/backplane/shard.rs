//! Which shard of a domain a topic belongs to. Must not know how many messages a shard has.

use xxhash_rust::xxh3::xxh3_64;

/// The most shards a domain may have: each is a subject and a consumer of its own.
pub const SHARDS_MAX: u16 = 64;

/// The shard of `topic`, which its first segment decides, so that a pattern whose first segment is
/// no wildcard has all its topics in one shard.
#[must_use]
pub fn of_topic(topic: &str, shards: u16) -> u16 {
    let first = topic.split('/').next().unwrap_or_default();
    // The remainder is less than `shards`, which is a u16.
    (xxh3_64(first.as_bytes()) % u64::from(shards.max(1))) as u16
}

#[cfg(test)]
mod tests {
    use super::of_topic;

    #[test]
    fn topics_with_the_same_first_segment_share_a_shard() {
        for shards in [1, 2, 7, 64] {
            assert_eq!(of_topic("pmu/1", shards), of_topic("pmu/2/phasors", shards));
            assert!(of_topic("pmu", shards) < shards);
        }
    }

    #[test]
    fn the_hash_is_part_of_what_nodes_agree_on() {
        // Another hash would send a topic of a running domain to another shard.
        let shards: Vec<u16> = ["a", "b", "pmu", "alarms"].map(|t| of_topic(t, 64)).to_vec();
        assert_eq!(shards, PINNED);
    }

    const PINNED: [u16; 4] = [31, 63, 9, 17];
}
