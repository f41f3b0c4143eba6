//! How a connection ended and what follows from it: the table of close codes, and its counterpart
//! for refused handshakes. Must not wait or connect.

use std::time::Duration;

/// What to do after an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Connecting again without changing anything would end the same way.
    No,
    /// Connect again at once.
    Now,
    /// Connect again after a delay, with jitter.
    Later,
}

/// Of the body of a refusal that is not of gridcast, as much as a line of a log may hold.
const REASON_CHARS_MAX: usize = 500;

/// The end of a connection, or of the attempt to make one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ending {
    /// For people.
    pub reason: String,
    /// A close code, an HTTP status, or none where nobody said anything.
    pub status: Option<u16>,
    /// The word of the server for a request that it refused; none where that was somebody else.
    pub code: Option<String>,
    /// Whether the server may be there, and WebSockets alone do not pass.
    pub is_blocked: bool,
    /// What follows.
    pub next: Next,
    /// The delay the server asks for, exactly, because it spread its clients itself.
    pub delay: Option<Duration>,
    /// The delay the server asks for, to which jitter is added.
    pub delay_min: Duration,
}

impl Ending {
    /// Nothing was said: the network or the server is gone.
    #[must_use]
    pub fn lost(reason: impl Into<String>) -> Self {
        Self::new(reason.into(), None, Next::Later)
    }

    /// Nothing would change if it were tried again.
    #[must_use]
    pub fn for_good(reason: impl Into<String>) -> Self {
        Self::new(reason.into(), None, Next::No)
    }

    /// A close frame came.
    #[must_use]
    pub fn of_close(code: u16, reason: &str) -> Self {
        let told = if reason.is_empty() { "closed without a reason" } else { reason };
        let delay = if code == 1001 { asked_delay(reason) } else { None };
        Self { delay, ..Self::new(told.to_owned(), Some(code), after_close(code)) }
    }

    /// This side gave up: a message is larger than it takes, and would come again the same.
    #[must_use]
    pub fn too_large(reason: impl Into<String>) -> Self {
        Self::new(reason.into(), Some(1009), Next::No)
    }

    /// The handshake was refused.
    #[must_use]
    pub fn of_status(status: u16, reason: &str, retry_after: Option<&str>) -> Self {
        // Of the refusals below 500 these are about the moment, not about the request.
        let passes = status >= 500 || matches!(status, 408 | 425 | 429);
        let next = if passes { Next::Later } else { Next::No };
        let seconds: Option<u32> = retry_after.and_then(|text| text.parse().ok());
        let delay_min = Duration::from_secs(seconds.unwrap_or(0).into());
        Self { delay_min, ..Self::new(reason.to_owned(), Some(status), next) }
    }

    /// A request was answered so, with this body.
    #[must_use]
    pub fn of_answer(status: u16, body: &[u8], retry_after: Option<&str>) -> Self {
        let told = serde_json::from_slice::<serde_json::Value>(body).unwrap_or_default();
        let code = told["error"]["code"].as_str().map(str::to_owned);
        let plain = String::from_utf8_lossy(body);
        let reason = told["error"]["message"].as_str().unwrap_or(plain.trim());
        let reason: String = reason.chars().take(REASON_CHARS_MAX).collect();
        let reason = if reason.is_empty() { format!("status {status}") } else { reason };
        Self { code, ..Self::of_status(status, &reason, retry_after) }
    }

    /// The opening of a WebSocket was answered so.
    #[must_use]
    pub fn of_handshake(status: u16, body: &[u8], retry_after: Option<&str>) -> Self {
        let ending = Self::of_answer(status, body, retry_after);
        // A server says so where the headers of the opening were lost on the way. Of others these
        // are about the moment or the token; whatever else they say may be about WebSockets.
        let is_blocked = match &ending.code {
            Some(code) => code == "upgrade_required",
            None => !matches!(status, 401 | 408 | 425 | 429 | 503),
        };
        Self { is_blocked, ..ending }
    }

    /// The server was reached, and no greeting came.
    #[must_use]
    pub fn blocked(reason: impl Into<String>) -> Self {
        Self { is_blocked: true, ..Self::lost(reason) }
    }

    fn new(reason: String, status: Option<u16>, next: Next) -> Self {
        let (delay, delay_min) = (None, Duration::ZERO);
        Self { reason, status, code: None, is_blocked: false, next, delay, delay_min }
    }

    /// Whether another token may help.
    #[must_use]
    pub fn is_about_token(&self) -> bool {
        matches!(self.status, Some(401 | 4401))
    }
}

/// docs/protocol.md, "Close codes". What is not in it comes from proxies, and passes.
fn after_close(code: u16) -> Next {
    match code {
        1000 | 1002 | 1003 | 1007 | 1009 | 4400 | 4401 | 4403 => Next::No,
        4408 | 4409 => Next::Now,
        _ => Next::Later,
    }
}

/// The number before `ms` in the reason of a drain.
fn asked_delay(reason: &str) -> Option<Duration> {
    let words: Vec<&str> = reason.split_ascii_whitespace().collect();
    let pair = words.windows(2).find(|pair| pair[1].trim_end_matches([',', '.', ';']) == "ms")?;
    let ms: u32 = pair[0].parse().ok()?;
    Some(Duration::from_millis(ms.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_close_code_of_the_protocol_has_its_row() {
        let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../docs/protocol.md");
        let page = std::fs::read_to_string(page).unwrap();
        let table = page.split("## Close codes").nth(1).unwrap().split("\n## ").next().unwrap();
        let rows: Vec<Vec<&str>> = table
            .lines()
            .map(|line| line.split('|').map(str::trim).collect())
            .filter(|row: &Vec<&str>| row.get(1).is_some_and(|code| code.parse::<u16>().is_ok()))
            .collect();
        assert!(rows.len() > 10, "{rows:?}");
        for row in rows {
            let next = match row[2] {
                "no" => Next::No,
                "now" => Next::Now,
                _ => Next::Later,
            };
            assert_eq!(Ending::of_close(row[1].parse().unwrap(), "").next, next, "{row:?}");
        }
    }

    #[test]
    fn what_keeps_websockets_out_is_told_from_what_keeps_all_out() {
        let is_blocked =
            |status, body: &str| Ending::of_handshake(status, body.as_bytes(), None).is_blocked;
        let own = |code: &str| format!(r#"{{"error":{{"code":"{code}","message":"no"}}}}"#);
        assert!(is_blocked(426, &own("upgrade_required")) && is_blocked(400, "<html>"));
        assert!(is_blocked(200, "hello") && is_blocked(502, ""));
        assert!(!is_blocked(404, &own("not_found")) && !is_blocked(403, &own("forbidden")));
        assert!(!is_blocked(503, "") && !is_blocked(401, "") && !is_blocked(429, ""));
        let refused = Ending::of_answer(403, own("forbidden").as_bytes(), None);
        assert_eq!((refused.code.as_deref(), &*refused.reason), (Some("forbidden"), "no"));
    }

    #[test]
    fn a_drain_says_how_long_to_wait_and_nothing_else_does() {
        let delay = |code, reason| Ending::of_close(code, reason).delay;
        assert_eq!(delay(1001, "draining; in 1500 ms"), Some(Duration::from_millis(1500)));
        assert_eq!(delay(1001, "draining"), None);
        assert_eq!(delay(4409, "1500 ms"), None);
        assert_eq!(delay(1001, "99999999999999999999 ms"), None);
    }
}
