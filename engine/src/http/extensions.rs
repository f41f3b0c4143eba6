//! Which extensions a WebSocket client offers (RFC 6455 section 9.1), and what is agreed of
//! permessage-deflate (RFC 7692). It reads and writes the values of one header; it must not know
//! how a message is deflated.

/// What was agreed of permessage-deflate: what the server sends, each message for itself; what the
/// client sends, likewise if it offered that, and else as it likes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Agreed {
    /// The largest window the client asked the server to use, 8 to 15, where it asked.
    asked_window_bits: Option<u8>,
    client_keeps_context: bool,
}

impl Agreed {
    /// The largest window that messages to this client may be deflated with, 8 to 15 bits.
    #[must_use]
    pub fn server_window_bits(self) -> u8 {
        self.asked_window_bits.unwrap_or(WINDOW_BITS_MAX)
    }

    /// Whether a message of the client may refer to those before it. Section 7.1.1.2 would let a
    /// server forbid it unasked, but some clients then go on as they are used to.
    #[must_use]
    pub fn client_keeps_context(self) -> bool {
        self.client_keeps_context
    }

    /// The value of the response's `Sec-WebSocket-Extensions`.
    #[must_use]
    pub fn header(self) -> String {
        let mut header = String::from("permessage-deflate; server_no_context_takeover");
        if !self.client_keeps_context {
            header.push_str("; client_no_context_takeover");
        }
        // Section 7.1.2.1: accepting the parameter is repeating it. The client's own window needs
        // no answer: whatever it uses is within the largest.
        if let Some(bits) = self.asked_window_bits {
            header.push_str("; server_max_window_bits=");
            header.push_str(&bits.to_string());
        }
        header
    }
}

/// The first offer of permessage-deflate that can be accepted, in the client's order. Offers with a
/// parameter that is unknown, doubled or malformed are declined (RFC 7692 section 7.1), and so are
/// other extensions.
#[must_use]
pub fn negotiate(header: Option<&str>, is_enabled: bool) -> Option<Agreed> {
    let header = header.filter(|_| is_enabled)?;
    split_unquoted(header, ',').find_map(accept)
}

fn accept(offer: &str) -> Option<Agreed> {
    let mut parts = split_unquoted(offer, ';').map(trim);
    // Neither RFC speaks of case; like other names in headers, these are taken in any.
    parts.next().filter(|name| name.eq_ignore_ascii_case("permessage-deflate"))?;
    let mut seen = Offer::default();
    for part in parts {
        seen.take(part)?;
    }
    Some(Agreed {
        asked_window_bits: seen.server_max_window_bits,
        client_keeps_context: seen.client_no_context_takeover.is_none(),
    })
}

/// The parameters of one offer, each at most once.
#[derive(Default)]
struct Offer {
    server_no_context_takeover: Option<()>,
    client_no_context_takeover: Option<()>,
    server_max_window_bits: Option<u8>,
    client_max_window_bits: Option<Option<u8>>,
}

impl Offer {
    /// Takes one parameter in; none where the offer is to be declined for it.
    fn take(&mut self, parameter: &str) -> Option<()> {
        let (name, value) = match parameter.split_once('=') {
            Some((name, value)) => (trim(name), Some(unquote(trim(value))?)),
            None => (parameter, None),
        };
        match (name.to_ascii_lowercase().as_str(), value) {
            ("server_no_context_takeover", None) => once(&mut self.server_no_context_takeover, ()),
            ("client_no_context_takeover", None) => once(&mut self.client_no_context_takeover, ()),
            ("server_max_window_bits", Some(bits)) => {
                once(&mut self.server_max_window_bits, window_bits(&bits)?)
            }
            ("client_max_window_bits", None) => once(&mut self.client_max_window_bits, None),
            ("client_max_window_bits", Some(bits)) => {
                once(&mut self.client_max_window_bits, Some(window_bits(&bits)?))
            }
            _ => None,
        }
    }
}

fn once<T>(slot: &mut Option<T>, value: T) -> Option<()> {
    slot.replace(value).is_none().then_some(())
}

/// Section 7.1.2: a decimal number without leading zeros, 8 to 15.
fn window_bits(text: &str) -> Option<u8> {
    let is_plain = !text.starts_with('0') && text.bytes().all(|byte| byte.is_ascii_digit());
    let bits = text.parse().ok().filter(|_| is_plain)?;
    (WINDOW_BITS_MIN..=WINDOW_BITS_MAX).contains(&bits).then_some(bits)
}

/// The token that a value is, quoted or not; none where it is malformed. A quoted one must be a
/// token as well (RFC 6455 section 9.1), so it holds no separators; backslashes may stand in it.
fn unquote(value: &str) -> Option<String> {
    let Some(quoted) = value.strip_prefix('"') else {
        return Some(value.to_owned());
    };
    let mut token = String::new();
    let mut rest = quoted.strip_suffix('"')?.chars();
    while let Some(next) = rest.next() {
        match next {
            '\\' => token.push(rest.next()?),
            '"' => return None,
            other => token.push(other),
        }
    }
    Some(token)
}

/// Splits at `separator` where it stands outside of quotes.
fn split_unquoted(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let (mut is_quoted, mut is_escaped) = (false, false);
    text.split(move |next: char| {
        if is_escaped {
            is_escaped = false;
            return false;
        }
        is_escaped = is_quoted && next == '\\';
        is_quoted ^= next == '"';
        !is_quoted && next == separator
    })
}

/// HTTP's white space (RFC 9110 section 5.6.3), and no other.
fn trim(text: &str) -> &str {
    text.trim_matches([' ', '\t'])
}

const WINDOW_BITS_MIN: u8 = 8;
const WINDOW_BITS_MAX: u8 = 15;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PLAIN: &str = "permessage-deflate; server_no_context_takeover";

    fn answer(header: &str) -> Option<String> {
        negotiate(Some(header), true).map(Agreed::header)
    }

    fn with_window(bits: u8) -> Option<String> {
        Some(format!("{PLAIN}; server_max_window_bits={bits}"))
    }

    #[test]
    fn every_combination_a_client_may_offer_is_accepted() {
        let windows = |name: &str| {
            let sizes = (8..=15).map(|bits| (format!("; {name}={bits}"), Some(bits)));
            [(String::new(), None)].into_iter().chain(sizes).collect::<Vec<_>>()
        };
        let mut client_windows = windows("client_max_window_bits");
        client_windows.push(("; client_max_window_bits".to_owned(), None));
        for takeovers in [
            "",
            "; server_no_context_takeover",
            "; client_no_context_takeover",
            "; client_no_context_takeover; server_no_context_takeover",
        ] {
            for (server, bits) in windows("server_max_window_bits") {
                for (client, _) in &client_windows {
                    let offer = format!("permessage-deflate{takeovers}{client}{server}");
                    let keeps_context = !takeovers.contains("client_no");
                    let no_context =
                        if keeps_context { "" } else { "; client_no_context_takeover" };
                    let window = bits.map_or_else(String::new, |bits| {
                        format!("; server_max_window_bits={bits}")
                    });
                    let expected = format!("{PLAIN}{no_context}{window}");
                    assert_eq!(answer(&offer), Some(expected), "{offer}");
                    let agreed = negotiate(Some(&offer), true).unwrap();
                    assert_eq!(agreed.server_window_bits(), bits.unwrap_or(15), "{offer}");
                }
            }
        }
    }

    #[test]
    fn forms_of_the_grammar_are_understood() {
        for (offer, expected) in [
            ("permessage-deflate;server_max_window_bits=10", with_window(10)),
            ("\t permessage-deflate ;\tserver_max_window_bits = 10 ", with_window(10)),
            ("permessage-deflate; server_max_window_bits=\"10\"", with_window(10)),
            ("permessage-deflate; server_max_window_bits=\"1\\0\"", with_window(10)),
            ("Permessage-Deflate; Server_Max_Window_Bits=10", with_window(10)),
            (", ,permessage-deflate,", Some(PLAIN.to_owned())),
            ("x; a=\"1, 2; \\\"\", permessage-deflate", Some(PLAIN.to_owned())),
            ("x-webkit-deflate-frame, bbf-usp-protocol; a; b=c", None),
            ("", None),
        ] {
            assert_eq!(answer(offer), expected, "{offer}");
        }
    }

    #[test]
    fn bad_offers_are_declined_and_the_next_is_considered() {
        for bad in [
            "unknown",
            "unknown=1",
            "",
            "=",
            "server_no_context_takeover=1",
            "client_no_context_takeover=\"\"",
            "server_no_context_takeover; server_no_context_takeover",
            "client_no_context_takeover; Client_No_Context_Takeover",
            "server_max_window_bits",
            "server_max_window_bits=",
            "server_max_window_bits=7",
            "server_max_window_bits=16",
            "server_max_window_bits=08",
            "server_max_window_bits=+9",
            "server_max_window_bits=264",
            "server_max_window_bits=\"9",
            "server_max_window_bits=9\"",
            "server_max_window_bits=\"9\"\"",
            "server_max_window_bits=\"9\\\"",
            "server_max_window_bits=9=9",
            "server_max_window_bits=9; server_max_window_bits=9",
            "client_max_window_bits=7",
            "client_max_window_bits=",
            "client_max_window_bits; client_max_window_bits=9",
        ] {
            let bad = format!("permessage-deflate; {bad}");
            assert_eq!(answer(&bad), None, "{bad}");
            // A quote that stays open takes in what follows it.
            if bad.matches('"').count() % 2 == 0 && !bad.contains('\\') {
                let fallback = "permessage-deflate; server_max_window_bits=11";
                assert_eq!(answer(&format!("{bad}, {fallback}")), with_window(11), "{bad}");
            }
        }
    }

    #[test]
    fn the_first_of_several_good_offers_is_taken() {
        let offers = "permessage-deflate; server_max_window_bits=9; client_max_window_bits, \
                      permessage-deflate; server_no_context_takeover, permessage-deflate";
        assert_eq!(answer(offers), with_window(9));
    }

    #[test]
    fn nothing_is_agreed_where_it_is_off_or_not_offered() {
        assert_eq!(negotiate(Some("permessage-deflate"), false), None);
        assert_eq!(negotiate(None, true), None);
    }

    proptest! {
        #[test]
        fn noise_never_panics_and_what_is_agreed_is_in_range(
            noise in "[ \t,;=\"\\\\a-z0-9ä]{0,40}",
            rest in ".{0,40}",
        ) {
            let header = format!("permessage-deflate; server_max_window_bits={noise}{rest}");
            if let Some(agreed) = negotiate(Some(&header), true) {
                prop_assert!((8..=15).contains(&agreed.server_window_bits()));
            }
        }
    }
}
