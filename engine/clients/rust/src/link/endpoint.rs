//! Where the server is: the base URL of its endpoints. Must not connect.

use std::fmt;

use crate::error::Error;

/// The address of a server; a path in the base, as of a proxy, is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// A name or an IP address, without brackets.
    pub host: String,
    /// The TCP port.
    pub port: u16,
    /// Whether it is encrypted.
    pub is_tls: bool,
    /// What goes before `/v1/…`.
    base: String,
}

impl Endpoint {
    /// Reads `ws://host:port`, with or without a path; `wss`, `http` and `https` likewise.
    ///
    /// # Errors
    /// [`Error::Invalid`], in words.
    pub fn parse(url: &str) -> Result<Self, Error> {
        let wrong = || Error::Invalid(format!("url: ws://host:port or wss://host, not `{url}`"));
        let (scheme, rest) = url.split_once("://").ok_or_else(wrong)?;
        let (is_tls, own_port) = match scheme {
            "ws" | "http" => (false, 80),
            "wss" | "https" => (true, 443),
            _ => return Err(wrong()),
        };
        if rest.contains(['@', '?', '#', ' ']) {
            // A secret may stand in it: it is not shown.
            let text = "url: no user, query or fragment here; a token goes into `token`";
            return Err(Error::Invalid(text.to_owned()));
        }
        let (authority, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
        let (host, port) = split(authority).filter(|(host, _)| is_host(host)).ok_or_else(wrong)?;
        let port = match port {
            Some(text) => text.parse().ok().filter(|port| *port != 0).ok_or_else(wrong)?,
            None => own_port,
        };
        let base = path.trim_end_matches('/').to_owned();
        Ok(Self { host: host.to_owned(), port, is_tls, base })
    }

    /// The URL of `/v1/ws`, with a greeting.
    #[must_use]
    pub fn multiplexed(&self) -> String {
        let scheme = if self.is_tls { "wss" } else { "ws" };
        format!("{scheme}://{self}{}/v1/ws?hello=1", self.base)
    }

    /// The path of an endpoint behind the base, such as `/metrics`.
    #[must_use]
    pub fn path(&self, of: &str) -> String {
        format!("{}{of}", self.base)
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port, .. } = self;
        if host.contains(':') { write!(f, "[{host}]:{port}") } else { write!(f, "{host}:{port}") }
    }
}

fn is_host(host: &str) -> bool {
    !host.is_empty() && host.chars().all(|c| !c.is_control() && !c.is_whitespace())
}

/// Host and port; the brackets of an IPv6 address are taken off.
fn split(authority: &str) -> Option<(&str, Option<&str>)> {
    if let Some(rest) = authority.strip_prefix('[') {
        let (host, rest) = rest.split_once(']')?;
        return match rest.strip_prefix(':') {
            Some(port) => Some((host, Some(port))),
            None => rest.is_empty().then_some((host, None)),
        };
    }
    match authority.split_once(':') {
        Some((_, port)) if port.contains(':') => None,
        Some((host, port)) => Some((host, Some(port))),
        None => Some((authority, None)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_read_with_and_without_port_and_path() {
        for (url, expected) in [
            ("ws://a:9400", "ws://a:9400/v1/ws?hello=1"),
            ("http://a", "ws://a:80/v1/ws?hello=1"),
            ("wss://a/", "wss://a:443/v1/ws?hello=1"),
            ("https://[::1]:99/grid/", "wss://[::1]:99/grid/v1/ws?hello=1"),
        ] {
            assert_eq!(Endpoint::parse(url).unwrap().multiplexed(), expected);
        }
    }

    #[test]
    fn what_is_no_url_is_refused_and_a_secret_not_shown() {
        for url in ["a:9400", "ftp://a", "ws://", "ws://a:0", "ws://a:b", "ws://[::1]1", "ws://:1"]
        {
            assert!(Endpoint::parse(url).unwrap_err().to_string().contains("wss://host"), "{url}");
        }
        for url in ["ws://me:secret@a", "ws://a?token=secret"] {
            assert!(!Endpoint::parse(url).unwrap_err().to_string().contains("secret"));
        }
    }
}
