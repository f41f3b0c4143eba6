//! Finds the valid word nearest to a wrong one, for error messages. Must not know what the words
//! mean.

/// The candidate most like `word`, unless none is like it at all.
#[must_use]
pub fn nearest<'c>(word: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    candidates
        .into_iter()
        .map(|candidate| (strsim::osa_distance(word, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= 1 + candidate.len() / 3)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// The end of a message about a wrong word: the nearest right one, or all of them.
#[must_use]
pub fn hint(word: &str, candidates: &[&str]) -> String {
    nearest(word, candidates.iter().copied()).map_or_else(
        || format!("known are {}", candidates.join(", ")),
        |right| format!("did you mean `{right}`?"),
    )
}

/// What a message repeats of a wrong word: not more of it than helps to find it.
#[must_use]
pub fn clip(word: &str) -> String {
    if word.len() <= WORD_BYTES_MAX {
        return word.to_owned();
    }
    let end = word.floor_char_boundary(WORD_BYTES_MAX);
    word.get(..end).unwrap_or_default().to_owned() + "…"
}

/// Twice the longest word there is: enough to recognise, and cheap to compare.
const WORD_BYTES_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typo_finds_its_word_and_a_stranger_the_list() {
        let words = ["latest", "last", "oldest"];
        assert_eq!(hint("lates", &words), "did you mean `latest`?");
        assert_eq!(hint("odlest", &words), "did you mean `oldest`?");
        assert_eq!(hint("zzzzzzzz", &words), "known are latest, last, oldest");
    }

    #[test]
    fn a_long_word_is_clipped_between_characters() {
        assert_eq!(clip("latest"), "latest");
        assert_eq!(clip(&"ä".repeat(100)), "ä".repeat(32) + "…");
        assert_eq!(
            clip(&("x".to_owned() + &"ä".repeat(100))),
            "x".to_owned() + &"ä".repeat(31) + "…"
        );
    }
}
