//! Counters by name, added up. Must not know what they count.

use std::collections::BTreeMap;

/// Adds counts by name.
pub fn merge_counts(into: &mut BTreeMap<String, u64>, from: &BTreeMap<String, u64>) {
    for (name, count) in from {
        *into.entry(name.clone()).or_default() += count;
    }
}
