//! Origins: the list of pages that may use the engine from a browser. Owns its text form and what
//! it covers. Must not know what a page that is not listed is told.

use serde::Deserialize;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// The pages that may use the engine; all of them when none is named.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Vec<String>")]
pub struct Origins(Vec<Rule>);

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Rule {
    /// What a page without an origin of its own sends.
    Null,
    /// A whole origin.
    Exact(Origin),
    /// All hosts below a domain; of one scheme and of one port if those were written.
    Below {
        scheme: Option<String>,
        /// The domain, from the dot on.
        suffix: String,
        port: Option<u16>,
    },
}

/// An origin as browsers compare them (RFC 6454 section 4): in lower case, addresses in one form,
/// and no port where it is the scheme's own.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Origin {
    scheme: String,
    host: String,
    port: Option<u16>,
}

impl Origins {
    /// True when every page may use the engine.
    #[must_use]
    pub fn is_any(&self) -> bool {
        self.0.is_empty()
    }

    /// True when the list names this origin; one without entries names none.
    #[must_use]
    pub fn lists(&self, origin: &str) -> bool {
        match Origin::parse(&origin.to_ascii_lowercase()) {
            Some(origin) => self.0.iter().any(|rule| rule.covers(&origin)),
            None => origin.eq_ignore_ascii_case("null") && self.0.contains(&Rule::Null),
        }
    }
}

impl TryFrom<Vec<String>> for Origins {
    type Error = String;

    fn try_from(entries: Vec<String>) -> Result<Self, String> {
        entries.iter().map(|entry| entry.parse()).collect::<Result<_, _>>().map(Self)
    }
}

impl Rule {
    fn covers(&self, origin: &Origin) -> bool {
        match self {
            Self::Null => false,
            Self::Exact(exact) => exact == origin,
            Self::Below { scheme, suffix, port } => {
                let below = origin.host.strip_suffix(suffix.as_str()).unwrap_or_default();
                let own = default_port(&origin.scheme);
                let is_at_port = origin.port.or(own) == port.or(own);
                scheme.as_ref().is_none_or(|scheme| *scheme == origin.scheme)
                    && is_at_port
                    && is_name(below)
            }
        }
    }
}

impl FromStr for Rule {
    type Err = String;

    fn from_str(part: &str) -> Result<Self, String> {
        let lower = part.to_ascii_lowercase();
        if lower == "null" {
            return Ok(Self::Null);
        }
        let (scheme, rest) = match lower.split_once("://") {
            Some((scheme, rest)) => (Some(scheme.to_owned()), rest),
            None => (None, lower.as_str()),
        };
        let rule = match rest.strip_prefix('*') {
            Some(domain) => below(scheme, domain),
            None => Origin::parse(&lower).map(Self::Exact),
        };
        rule.ok_or_else(|| {
            let hint = if part.is_ascii() { "" } else { " (names in other letters as xn--…)" };
            format!(
                "`{part}` is no origin such as https://app.example.com, http://[::1]:8080, \
                 https://*.example.com or *.example.com{hint}"
            )
        })
    }
}

impl Origin {
    /// None for what no browser sends.
    fn parse(lower: &str) -> Option<Self> {
        let (scheme, authority) =
            lower.split_once("://").filter(|(scheme, _)| is_scheme(scheme))?;
        if (scheme, authority) == ("file", "") {
            return Some(Self { scheme: scheme.into(), host: String::new(), port: None });
        }
        let (host, port) = split_port(authority)?;
        let port = port.filter(|port| default_port(scheme) != Some(*port));
        Some(Self { scheme: scheme.to_owned(), host: host_of(host)?, port })
    }
}

fn below(scheme: Option<String>, domain: &str) -> Option<Rule> {
    let (suffix, port) = split_port(domain)?;
    let name = suffix.strip_prefix('.').filter(|name| is_name(name) && !ends_in_number(name))?;
    let is_known = scheme.as_deref().is_none_or(is_scheme);
    is_known.then(|| Rule::Below { scheme, suffix: format!(".{name}"), port })
}

fn default_port(scheme: &str) -> Option<u16> {
    match scheme {
        "http" | "ws" => Some(80),
        "https" | "wss" => Some(443),
        _ => None,
    }
}

/// RFC 3986 section 3.1.
fn is_scheme(text: &str) -> bool {
    let is_inner = |b: u8| b.is_ascii_alphanumeric() || b"+-.".contains(&b);
    text.starts_with(|first: char| first.is_ascii_alphabetic()) && text.bytes().all(is_inner)
}

/// A host and its port, if it has one.
fn split_port(authority: &str) -> Option<(&str, Option<u16>)> {
    let after_address = authority.rfind(']').map_or(0, |at| at + 1);
    let Some(colon) = authority.get(after_address..)?.find(':') else {
        return Some((authority, None));
    };
    let (host, port) = authority.split_at(after_address + colon);
    let digits = port.strip_prefix(':').filter(|port| port.bytes().all(|b| b.is_ascii_digit()))?;
    let port = digits.parse().ok().filter(|port| *port > 0)?;
    Some((host, Some(port)))
}

/// A host in its one form.
fn host_of(host: &str) -> Option<String> {
    match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(address) => Some(format!("[{}]", address.parse::<Ipv6Addr>().ok()?)),
        None if ends_in_number(host) => Some(host.parse::<Ipv4Addr>().ok()?.to_string()),
        None => is_name(host).then(|| host.to_owned()),
    }
}

/// Browsers take such a host for an address.
fn ends_in_number(host: &str) -> bool {
    let last = host.rsplit('.').next().unwrap_or_default();
    !last.is_empty() && last.bytes().all(|b| b.is_ascii_digit())
}

/// Nothing that ends a host or begins something else.
fn is_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn origins(list: &str) -> Result<Origins, String> {
        Origins::try_from(list.split(", ").map(str::to_owned).collect::<Vec<_>>())
    }

    fn admits(list: &str, origin: &str) -> bool {
        origins(list).unwrap().lists(origin)
    }

    #[test]
    fn an_origin_is_listed_or_refused() {
        let list = "https://app.example.com, http://localhost:8080, https://*.example.org, \
                    *.example.net:8443";
        for listed in [
            "https://app.example.com",
            "HTTPS://App.Example.com",
            "http://localhost:8080",
            "https://a.example.org",
            "https://a.b.example.org",
            "http://a.example.net:8443",
            "https://a.example.net:8443",
        ] {
            assert!(admits(list, listed), "{listed}");
        }
        for other in [
            "http://app.example.com",
            "https://app.example.com:8443",
            "https://app.example.com.evil.org",
            "http://localhost",
            "https://example.org",
            "http://a.example.org",
            "https://evilexample.org",
            "https://evil.com/.example.org",
            "https://evil.com:1.example.org",
            "https://a@.example.org",
            "https://a.example.org:1",
            "https://a.example.net",
            "null",
            "",
            ".example.org",
        ] {
            assert!(!admits(list, other), "{other}");
        }
    }

    #[test]
    fn every_origin_a_browser_sends_can_be_written() {
        for (written, sent) in [
            ("http://[::1]:8080", "http://[::1]:8080"),
            ("http://[0:0:0:0:0:0:0:1]", "http://[::1]"),
            ("https://[2001:DB8::1]:443", "https://[2001:db8::1]"),
            ("http://[::ffff:1.2.3.4]", "http://[::ffff:102:304]"),
            ("https://a.example:443", "https://a.example"),
            ("http://a.example:80", "http://a.example"),
            ("http://a.example:443", "http://a.example:443"),
            ("http://127.0.0.1:3000", "http://127.0.0.1:3000"),
            ("https://*.example.org:443", "https://a.example.org"),
            ("*.example.org:443", "https://a.example.org"),
            ("*.example.org:443", "http://a.example.org:443"),
            ("chrome-extension://abcdefgh", "chrome-extension://abcdefgh"),
            ("capacitor://localhost", "capacitor://localhost"),
            ("https://xn--bcher-kva.example", "https://xn--bcher-kva.example"),
            ("file://", "file://"),
            ("null", "null"),
        ] {
            assert!(admits(written, sent), "{written} {sent}");
        }
        assert!(!admits("http://a.example:80", "https://a.example"));
        assert!(!admits("*.example.org:443", "http://a.example.org"));
    }

    #[test]
    fn what_is_no_origin_is_named() {
        for bad in [
            "http://127.1",
            "https://a.example:0",
            "https://a.example:+80",
            "https://a.example:",
            "http://[::1",
            "http://::1",
            "http://[localhost]",
            "https://*.1.2.3.4",
            "https://bücher.example",
            "1x://a.example",
            "*.*",
            "example.com",
            "https://",
            "https://a.example/",
            "https://a.example:port",
            "https://*",
            "*",
            "*example.com",
            "https://a.*.example",
            "://a.example",
        ] {
            let error = origins(bad).unwrap_err();
            assert!(error.starts_with(&format!("`{bad}`")), "{error}");
        }
    }

    proptest! {
        #[test]
        fn nothing_is_admitted_that_does_not_end_in_the_domain(
            origin in "(https?|x)?(://)?[a-z.*:@/]{0,12}(\\.example\\.org)?[a-z:/.]{0,3}",
        ) {
            if admits("https://*.example.org", &origin) {
                prop_assert!(origin.starts_with("https://") && origin.ends_with(".example.org"));
            }
        }
    }
}
