//! How a gap is told: the same members in every form, and the words of a close. Must not know how a
//! notice is framed, nor to whom it goes.

use crate::feed::gap::Gap;
use crate::feed::topic::Target;
use crate::wire::text;

/// The notice for a subscriber of `target`, or for one that has no other subscription: then it
/// fits a ping, whatever the numbers.
pub fn notice(target: Option<&Target>, gap: Gap) -> Vec<u8> {
    let mut out = br#"{"gap":{"#.to_vec();
    if let Some(target) = target {
        out.extend_from_slice(br#""topic":"#);
        text::json_string(&mut out, target.as_str());
        out.push(b',');
    }
    members(&mut out, gap);
    out.extend_from_slice(b"}}");
    out
}

/// Whether a message is a notice, of those that the engine writes.
#[must_use]
pub fn is_notice(text: &[u8]) -> bool {
    text.starts_with(br#"{"gap":"#)
}

/// Appends `"from":…,"to":…,"frames":…,"reason":…`. Where nobody knows how many frames are missing,
/// `frames` is left out.
pub fn members(out: &mut Vec<u8>, gap: Gap) {
    let Gap { from, to, frames, reason } = gap;
    text::text(out, format_args!(r#""from":{from},"to":{to},"#));
    if let Some(frames) = frames {
        text::text(out, format_args!(r#""frames":{frames},"#));
    }
    text::text(out, format_args!(r#""reason":"{}""#, reason.word()));
}

/// What is missing, for the reason of a close.
#[must_use]
pub fn words(gap: Gap) -> String {
    let Gap { from, to, frames, .. } = gap;
    let frames = match frames {
        None => String::new(),
        Some(1) => " (1 frame)".to_owned(),
        Some(frames) => format!(" ({frames} frames)"),
    };
    format!("missed {from}-{to}{frames}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::feed::gap::GapReason;
    use crate::frame::CONTROL_BYTES_MAX;

    fn gap(from: u64, to: u64, reason: GapReason) -> Gap {
        let frames = (reason != GapReason::Epoch).then(|| to - from + 1);
        Gap { from, to, frames, reason }
    }

    fn told(target: Option<&str>, (from, to): (u64, u64), reason: GapReason) -> String {
        let target = target.map(|target| target.parse().unwrap());
        String::from_utf8(notice(target.as_ref(), gap(from, to, reason))).unwrap()
    }

    #[test]
    fn the_forms_are_the_documented_ones() {
        assert_eq!(
            told(Some("pmu/#"), (44, 90), GapReason::Lagged),
            r##"{"gap":{"topic":"pmu/#","from":44,"to":90,"frames":47,"reason":"lagged"}}"##
        );
        assert_eq!(
            told(None, (4, 4), GapReason::Expired),
            r#"{"gap":{"from":4,"to":4,"frames":1,"reason":"expired"}}"#
        );
    }

    #[test]
    fn frames_that_nobody_can_count_are_not_counted() {
        assert_eq!(
            told(None, (0, 6), GapReason::Epoch),
            r#"{"gap":{"from":0,"to":6,"reason":"epoch"}}"#
        );
    }

    #[test]
    fn a_close_says_it_in_words() {
        let words = |from, to, reason| words(gap(from, to, reason));
        assert_eq!(words(4, 15, GapReason::Expired), "missed 4-15 (12 frames)");
        assert_eq!(words(4, 4, GapReason::Lagged), "missed 4-4 (1 frame)");
        assert_eq!(words(0, 0, GapReason::Epoch), "missed 0-0");
    }

    #[test]
    fn the_longest_fits_a_control_frame() {
        let (from, to) = (u64::MAX - 10_u64.pow(19), u64::MAX);
        assert!(told(None, (from, to), GapReason::Conflated).len() <= CONTROL_BYTES_MAX);
        let words = words(gap(from, to, GapReason::Expired));
        let reason = format!("expired: {words}: use from=oldest");
        assert!(2 + reason.len() <= CONTROL_BYTES_MAX, "{reason}");
    }
}
