//! What a client offers in `Sec-WebSocket-Extensions` (RFC 6455 section 9.1) and what of it is
//! agreed to: permessage-deflate (RFC 7692), in every combination of its parameters. It decides;
//! `handshake` answers, and `deflate` does the work.

/// The terms of permessage-deflate. Neither side ever keeps a window from message to message: that
/// is what lets subscribers share deflated messages, and publishers an inflater.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Agreed {
    /// The largest window the client can inflate, as a power of two.
    pub server_window_bits: u8,
    /// Whether the answer names that window: only where the client asked.
    names_window: bool,
}

impl Agreed {
    /// The value of the answer's `Sec-WebSocket-Extensions`.
    #[must_use]
    pub fn answer(self) -> String {
        let mut answer = "permessage-deflate; server_no_context_takeover; \
                          client_no_context_takeover"
            .to_owned();
        if self.names_window {
            answer += &format!("; server_max_window_bits={}", self.server_window_bits);
        }
        answer
    }
}

/// The first offer that can be agreed to. One that cannot be is passed over, as section 5.1 of
/// RFC 7692 has it, and so is whatever is no permessage-deflate.
#[must_use]
pub fn negotiate(header: Option<&str>) -> Option<Agreed> {
    split(header?, ',').iter().find_map(|offer| agree(offer))
}

fn agree(offer: &str) -> Option<Agreed> {
    let mut parts = split(offer, ';').into_iter().map(str::trim);
    if !parts.next()?.eq_ignore_ascii_case("permessage-deflate") {
        return None;
    }
    let mut seen = Vec::new();
    let mut agreed = Agreed { server_window_bits: WINDOW_BITS_MAX, names_window: false };
    for part in parts {
        let (name, value) = match part.split_once('=') {
            Some((name, value)) => (name.trim().to_ascii_lowercase(), Some(unquote(value.trim())?)),
            None => (part.to_ascii_lowercase(), None),
        };
        if seen.contains(&name) || seen.len() == PARAMETERS_MAX {
            return None;
        }
        match (name.as_str(), value) {
            ("server_no_context_takeover" | "client_no_context_takeover", None) => {}
            // The window a client offers to keep to is no concern of an inflater that has them all.
            ("client_max_window_bits", None) => {}
            ("client_max_window_bits", Some(value)) => {
                window_bits(value)?;
            }
            ("server_max_window_bits", Some(value)) => {
                agreed = Agreed { server_window_bits: window_bits(value)?, names_window: true };
            }
            _ => return None,
        }
        seen.push(name);
    }
    Some(agreed)
}

/// Section 7.1.2.1: a number from 8 to 15 without leading zeros.
fn window_bits(value: &str) -> Option<u8> {
    let bits: u8 = value.parse().ok()?;
    let is_plain = value.bytes().all(|b| b.is_ascii_digit()) && !value.starts_with('0');
    (is_plain && (8..=WINDOW_BITS_MAX).contains(&bits)).then_some(bits)
}

/// A value is a token, or a token in quotes.
fn unquote(value: &str) -> Option<&str> {
    match value.strip_prefix('"') {
        Some(rest) => rest.strip_suffix('"'),
        None => Some(value),
    }
}

/// Splits where no quotes are open.
fn split(text: &str, separator: char) -> Vec<&str> {
    let mut is_quoted = false;
    text.split(move |c| {
        is_quoted ^= c == '"';
        c == separator && !is_quoted
    })
    .collect()
}

const WINDOW_BITS_MAX: u8 = 15;

/// There are four parameters.
const PARAMETERS_MAX: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    const BOTH: &str = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";

    fn answer(header: &str) -> Option<String> {
        negotiate(Some(header)).map(Agreed::answer)
    }

    #[test]
    fn every_combination_is_agreed_to() {
        let takeovers = ["", "; server_no_context_takeover", "; client_no_context_takeover"];
        let mut windows = vec![String::new(), "; client_max_window_bits".to_owned()];
        for bits in 8..=15 {
            windows.push(format!("; client_max_window_bits={bits}"));
            windows.push(format!("; server_max_window_bits=\"{bits}\""));
            windows.push(format!("; client_max_window_bits; server_max_window_bits={bits}"));
        }
        for first in takeovers {
            for second in takeovers.iter().filter(|second| second.is_empty() || **second != first) {
                for window in &windows {
                    let offer = format!("permessage-deflate{first}{second}{window}");
                    let answer = answer(&offer).unwrap_or_else(|| panic!("{offer}"));
                    assert!(answer.starts_with(BOTH));
                    let asked = offer.split_once("server_max_window_bits=");
                    let bits = asked.map(|(_, bits)| bits.trim_matches('"'));
                    assert_eq!(answer.split_once("server_max_window_bits=").map(|(_, b)| b), bits);
                }
            }
        }
    }

    #[test]
    fn what_cannot_be_agreed_to_is_passed_over() {
        for offer in [
            "",
            "x-webkit-deflate-frame",
            "permessage-deflate; server_max_window_bits",
            "permessage-deflate; server_max_window_bits=7",
            "permessage-deflate; server_max_window_bits=16",
            "permessage-deflate; server_max_window_bits=09",
            "permessage-deflate; server_max_window_bits=+9",
            "permessage-deflate; client_max_window_bits=x",
            "permessage-deflate; server_no_context_takeover=1",
            "permessage-deflate; server_no_context_takeover; server_no_context_takeover",
            "permessage-deflate; mux",
            "permessage-deflate; server_max_window_bits=\"10",
        ] {
            assert_eq!(answer(offer), None, "{offer}");
            let with_another = format!("{offer}, permessage-deflate");
            let quoted = offer.ends_with("\"10");
            assert_eq!(answer(&with_another).as_deref(), (!quoted).then_some(BOTH), "{offer}");
        }
        assert_eq!(negotiate(None), None);
    }

    #[test]
    fn the_first_offer_that_fits_wins() {
        let offers = "mux; max=\"1,2;3\", permessage-deflate; server_max_window_bits=10, \
                      permessage-deflate";
        assert_eq!(negotiate(Some(offers)).map(|agreed| agreed.server_window_bits), Some(10));
    }
}
