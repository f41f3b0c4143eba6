//! An answer of long polling: what was published, and where to go on. Must not ask for one.

use std::borrow::Cow;

use serde::Deserialize;

use super::told::Told;

/// See the file header.
#[derive(Debug, Deserialize)]
pub struct Page<'a> {
    /// Messages and gaps, in order.
    #[serde(borrow)]
    pub records: Vec<Told<'a>>,
    /// How the answer ends.
    #[serde(borrow)]
    pub end: End<'a>,
}

/// The end of an answer.
#[derive(Debug, Deserialize)]
pub struct End<'a> {
    /// The position to ask on from.
    #[serde(borrow)]
    pub next: Cow<'a, str>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_has_gaps_and_messages_and_an_end() {
        let text = r#"{"records":[{"gap":{"from":2,"to":2,"frames":1,"reason":"expired"}},
            {"topic":"a","epoch":"k1","seq":3,"time_ms":5,"data": 3.0 }],
            "end":{"next":"k1-3","records":1,"complete":false}}"#;
        let page: Page<'_> = serde_json::from_str(text).unwrap();
        let [gap, message] = &page.records[..] else { panic!("{page:?}") };
        assert_eq!(gap.gap.as_ref().map(|gap| (gap.from, gap.frames)), Some((2, Some(1))));
        assert_eq!((message.topic.as_deref(), message.seq), (Some("a"), Some(3)));
        assert_eq!(message.payload(text).unwrap().0, " 3.0 ".as_bytes());
        assert_eq!(page.end.next, "k1-3");
    }
}
