//! Origins: the list of pages that may use the engine from a browser. Owns its text form and what
//! it covers. Must not know what a page that is not listed is told.

use serde::Deserialize;
use std::str::FromStr;

/// The pages that may use the engine; all of them when none is named.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Vec<String>")]
pub struct Origins(Vec<Rule>);

/// One entry, in lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Rule {
    /// A whole origin, or `null`.
    Exact(String),
    /// All hosts below a domain; with a scheme if one was written.
    Below {
        scheme: Option<String>,
        /// The domain and its port, from the dot on.
        suffix: String,
    },
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
        let lower = origin.to_ascii_lowercase();
        self.0.iter().any(|rule| rule.covers(&lower))
    }
}

impl TryFrom<Vec<String>> for Origins {
    type Error = String;

    fn try_from(entries: Vec<String>) -> Result<Self, String> {
        entries.iter().map(|entry| entry.parse()).collect::<Result<_, _>>().map(Self)
    }
}

impl Rule {
    fn covers(&self, origin: &str) -> bool {
        match self {
            Self::Exact(exact) => exact == origin,
            Self::Below { scheme, suffix } => {
                let Some((own, authority)) = origin.split_once("://") else { return false };
                let host = authority.strip_suffix(suffix.as_str()).unwrap_or_default();
                scheme.as_deref().is_none_or(|scheme| scheme == own) && is_host(host)
            }
        }
    }
}

impl FromStr for Rule {
    type Err = String;

    fn from_str(part: &str) -> Result<Self, String> {
        let lower = part.to_ascii_lowercase();
        if lower == "null" {
            return Ok(Self::Exact(lower));
        }
        let (scheme, authority) = match lower.split_once("://") {
            Some((scheme, authority)) => (Some(scheme.to_owned()), authority),
            None => (None, lower.as_str()),
        };
        let (host, port) = authority.split_once(':').unwrap_or((authority, "0"));
        let is_right = port.parse::<u16>().is_ok() && scheme.as_deref() != Some("");
        match host.strip_prefix('*') {
            Some(rest) if is_right && rest.strip_prefix('.').is_some_and(is_host) => {
                Ok(Self::Below { scheme, suffix: authority.trim_start_matches('*').to_owned() })
            }
            None if is_right && scheme.is_some() && is_host(host) => Ok(Self::Exact(lower)),
            _ => Err(format!(
                "`{part}` is no origin such as https://app.example.com, https://*.example.com or \
                 *.example.com"
            )),
        }
    }
}

/// A name or an IPv4 address: nothing that ends a host or begins something else.
fn is_host(text: &str) -> bool {
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
    fn what_is_no_origin_is_named() {
        for bad in [
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
