//! The hash behind every deterministic choice of a run. Pure.

/// A well-mixed 64-bit function of three words (the finaliser of SplitMix64, chained). Every
/// deterministic choice of a run uses it.
pub fn mix(seed: u64, stream: u64, index: u64) -> u64 {
    finalise(finalise(finalise(seed).wrapping_add(stream)).wrapping_add(index))
}

fn finalise(word: u64) -> u64 {
    let mut z = word.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}
