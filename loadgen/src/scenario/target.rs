//! The target of the load: the server's address, whether connections are encrypted, and the local
//! addresses to connect from. Parsed and written back. Must not resolve or open anything.

use std::fmt::{self, Write as _};
use std::net::SocketAddr;

use crate::codec::dialect::dialect::Dialect;
use crate::codec::dialect::options;
use crate::scenario::dialect_keys;
use crate::scenario::section::{ScenarioError, Section, quoted};
use crate::scenario::source::SourceRange;

/// The target of the load and the local addresses to connect from.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Target {
    /// `host:port` of the server; `None` starts our own engine.
    pub authority: Option<String>,
    /// Other nodes of the same service, which subscribers are spread over, and where they go when
    /// theirs is gone; if empty, they connect to the server that is published to.
    pub subscriber_nodes: Vec<SocketAddr>,
    /// Whether connections are encrypted.
    pub tls: bool,
    /// The protocol of the server.
    pub dialect: Dialect,
    /// Local addresses to connect from; if empty, the kernel and the budget choose.
    pub source_ips: Vec<SourceRange>,
}

/// A server address from a URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetUrl {
    /// `host:port`.
    pub authority: String,
    /// Whether connections are encrypted.
    pub tls: bool,
}

impl Target {
    /// Reads `[target]` of a scenario.
    pub fn of(root: &Section<'_>) -> Result<Target, ScenarioError> {
        let Some(section) = root.table("target", &keys())? else { return Ok(Target::default()) };
        let parse_range =
            |text: &str| text.parse().map_err(|e: String| section.bad("source_ips", e));
        let source_ips: Result<_, _> =
            section.texts("source_ips")?.into_iter().map(parse_range).collect();
        let url = section.parsed("url", parse_target_url)?;
        let is_set = section.flag("tls")?;
        let tls = url.as_ref().map_or(is_set, |url| url.tls);
        if is_set && !tls {
            return Err(section.bad("tls", "the URL says otherwise; write `wss://host:port`"));
        }
        let authority = url.map(|url| url.authority);
        let subscriber_nodes = section.texts("subscriber_nodes")?;
        let subscriber_nodes = subscriber_nodes
            .iter()
            .map(|text| parse_node(text).map_err(|reason| section.bad("subscriber_nodes", reason)));
        let subscriber_nodes: Vec<_> = subscriber_nodes.collect::<Result<_, _>>()?;
        if authority.is_none() && !subscriber_nodes.is_empty() {
            return Err(section.bad("subscriber_nodes", "they need a `url` to publish to"));
        }
        Ok(Target {
            authority,
            subscriber_nodes,
            tls,
            dialect: dialect_keys::parse(&section)?,
            source_ips: source_ips?,
        })
    }

    /// Writes it as TOML that gives the same target.
    pub fn write_toml(&self, out: &mut String) -> fmt::Result {
        writeln!(out, "[target]")?;
        match &self.authority {
            Some(authority) => {
                let scheme = if self.tls { "wss" } else { "ws" };
                writeln!(out, "url = {}", quoted(&format!("{scheme}://{authority}")))?;
            }
            None if self.tls => writeln!(out, "tls = true")?,
            None => {}
        }
        if !self.subscriber_nodes.is_empty() {
            let nodes: Vec<_> =
                self.subscriber_nodes.iter().map(|node| quoted(&node.to_string())).collect();
            writeln!(out, "subscriber_nodes = [{}]", nodes.join(", "))?;
        }
        dialect_keys::write(&self.dialect, out)?;
        let ranges: Vec<_> = self.source_ips.iter().map(|r| quoted(&r.to_string())).collect();
        writeln!(out, "source_ips = [{}]\n", ranges.join(", "))
    }
}

/// Parses `ws://host:port` or `wss://host:port`.
pub fn parse_target_url(url: &str) -> Result<TargetUrl, String> {
    let wrong = || format!("`{url}` is no target; write e.g. `ws://10.0.0.5:9400`, or `wss://…`");
    let (scheme, authority) = url.split_once("://").ok_or_else(wrong)?;
    let tls = match scheme {
        "ws" => false,
        "wss" => true,
        _ => return Err(wrong()),
    };
    let authority = authority.strip_suffix('/').unwrap_or(authority);
    let (host, port) = authority.rsplit_once(':').ok_or_else(wrong)?;
    let port_fits = port.parse::<u16>().is_ok_and(|port| port > 0);
    let host_fits = !host.is_empty() && host.chars().all(|c| c.is_ascii_graphic() && c != '/');
    let authority = authority.to_owned();
    if port_fits && host_fits { Ok(TargetUrl { authority, tls }) } else { Err(wrong()) }
}

/// Parses the address of a node.
pub fn parse_node(text: &str) -> Result<SocketAddr, String> {
    let wrong = |_| format!("`{text}` is no node; write e.g. `10.0.0.6:9400`");
    text.parse().map_err(wrong)
}

/// The keys of `[target]`.
pub(crate) fn keys() -> Vec<&'static str> {
    [&KEYS[..], &options::KEYS[..]].concat()
}

const KEYS: [&str; 5] = ["url", "subscriber_nodes", "tls", "source_ips", "dialect"];
