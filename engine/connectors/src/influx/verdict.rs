//! What the answer to a write means: stored, refused, or to be tried again. Must not know sockets.

/// Longest reason that is kept of an answer.
const REASON_BYTES_MAX: usize = 200;

/// What follows from an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// All is stored.
    Stored,
    /// Something in it is wrong and will be the next time too: why.
    Refused(String),
    /// It is too large for this server.
    TooLarge,
    /// Not to us: why.
    Denied(String),
    /// Not now: why.
    Failed(String),
}

/// Reads an answer's status and body. 1.x says why as `error`, 2.x as `message`.
#[must_use]
pub fn of(status: u16, body: &[u8]) -> Verdict {
    match status {
        200..=299 => Verdict::Stored,
        413 => Verdict::TooLarge,
        400 | 422 => Verdict::Refused(reason(status, body)),
        401 | 403 => Verdict::Denied(format!("HTTP {status}: {}", reason(status, body))),
        _ => Verdict::Failed(format!("HTTP {status}: {}", reason(status, body))),
    }
}

fn reason(status: u16, body: &[u8]) -> String {
    let json: Option<serde_json::Value> = serde_json::from_slice(body).ok();
    let said = json.as_ref().and_then(|json| {
        let keys = ["error", "message"].into_iter();
        keys.filter_map(|key| json.get(key)?.as_str()).next()
    });
    let said = said.map_or_else(|| String::from_utf8_lossy(body).into_owned(), str::to_owned);
    let line = said.lines().next().unwrap_or_default();
    match line.get(..line.floor_char_boundary(REASON_BYTES_MAX)) {
        Some("") | None => format!("status {status} without a reason"),
        Some(line) => line.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_can_pass_later_is_tried_again() {
        assert_eq!(of(204, b""), Verdict::Stored);
        assert_eq!(of(413, b"{}"), Verdict::TooLarge);
        let conflict = br#"{"error":"field type conflict"}"#;
        assert_eq!(of(400, conflict), Verdict::Refused("field type conflict".to_owned()));
        for status in [301, 404, 429, 500, 503] {
            assert!(matches!(of(status, b""), Verdict::Failed(_)), "{status}");
        }
        assert!(matches!(of(401, b""), Verdict::Denied(_)));
    }

    #[test]
    fn reasons_are_one_short_line() {
        let Verdict::Failed(reason) = of(404, br#"{"code":"x","message":"no bucket\nat all"}"#)
        else {
            panic!("404 is not final");
        };
        assert_eq!(reason, "HTTP 404: no bucket");
        let Verdict::Refused(long) = of(400, "ä".repeat(500).as_bytes()) else { panic!("400") };
        assert_eq!(long.len(), REASON_BYTES_MAX);
    }
}
