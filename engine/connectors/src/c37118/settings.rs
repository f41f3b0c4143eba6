//! The settings of a `c37118` bridge: where its devices are, and how they are spoken to. Owns their
//! defaults and bounds. Must not connect to anything.

use std::net::{IpAddr, SocketAddr};

use serde::Deserialize;

use super::command::Wanted;
use super::dialogue::Patience;
use crate::bridge::settings::Common;
use crate::table::Reader;

/// What a bridge was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The name of the stream, in topics and messages.
    pub stream: String,
    /// Where frames come from.
    pub source: Source,
    /// The IDCODEs that are taken; all where it is empty.
    pub ids: Vec<u16>,
    /// Which configuration is asked for.
    pub configuration: Wanted,
    /// Whether each PMU's data is published decoded as well.
    pub has_json: bool,
    /// How long a device is waited for.
    pub patience: Patience,
}

/// Where frames come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// Devices that are connected to.
    Devices(Vec<Device>),
    /// Devices that connect to this address.
    Listener {
        /// Where is listened.
        address: SocketAddr,
        /// The IDCODE that connections are asked for data of; none where they send unasked.
        id: Option<u16>,
        /// Connections at once.
        connections_max: usize,
    },
    /// Datagrams that come to this address, or group.
    Datagrams {
        /// Where they come to.
        address: SocketAddr,
        /// The address of the interface that a multicast group is joined on.
        interface: Option<IpAddr>,
        /// The device that is asked for them; none where they come unasked.
        commands: Option<Commands>,
        /// What the kernel may keep of them, in bytes.
        receive_buffer_bytes: usize,
    },
}

/// A device that is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// Host and port.
    pub address: String,
    /// The IDCODE that it answers to.
    pub id: u16,
}

/// Which way a device is asked that sends datagrams.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Commands {
    /// Over a connection, as most devices want it.
    Connection(Device),
    /// By datagrams.
    Datagrams(Device),
}

/// The keys, as they are written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Written {
    stream: Option<String>,
    id: Option<u16>,
    ids: Vec<u16>,
    configuration: Wanted,
    json: bool,
    more: Vec<String>,
    commands: Option<String>,
    interface: Option<IpAddr>,
    answer_ms: u64,
    silence_ms: u64,
    connections_max: usize,
    receive_buffer_bytes: usize,
}

impl Default for Written {
    fn default() -> Self {
        Self {
            stream: None,
            id: None,
            ids: Vec::new(),
            configuration: Wanted::Cfg2,
            json: true,
            more: Vec::new(),
            commands: None,
            interface: None,
            answer_ms: 5_000,
            silence_ms: 10_000,
            connections_max: 256,
            receive_buffer_bytes: 4 << 20,
        }
    }
}

/// The ports that the standard recommends.
const TCP_PORT: u16 = 4712;
const UDP_PORT: u16 = 4713;
const NS_PER_MS: u64 = 1_000_000;

impl Settings {
    /// Reads what the common keys left.
    ///
    /// # Errors
    /// What is wrong, unknown, or makes no sense together; with the key and what to do.
    pub fn read(common: &Common, reader: Reader) -> Result<Self, String> {
        let name = reader.name.clone();
        let wrong = |(key, error): (&str, String)| format!("{name}: {key}: {error}");
        if !common.outputs.is_empty() {
            return Err(wrong(("out", "a c37118 bridge only takes in: remove the key".into())));
        }
        if !common.inputs.is_empty() {
            return Err(wrong(("in", "the streams that are taken are named by `ids`".into())));
        }
        let written: Written = reader.rest()?;
        check_bounds(&written).map_err(wrong)?;
        let source = source(&common.url, &written).map_err(wrong)?;
        let stream = written.stream.unwrap_or_else(|| common.name.clone());
        if stream.is_empty() || stream.contains(['/', '+', '#']) {
            let error = format!("`{stream}` is no segment of a topic: use no `/`, `+`, `#`");
            return Err(wrong(("stream", error)));
        }
        Ok(Self {
            stream,
            source,
            ids: written.ids,
            configuration: written.configuration,
            has_json: written.json,
            patience: Patience {
                answer_ns: written.answer_ms * NS_PER_MS,
                silence_ns: written.silence_ms * NS_PER_MS,
            },
        })
    }
}

/// A key, and what is wrong with it.
type Wrong = (&'static str, String);

fn check_bounds(written: &Written) -> Result<(), Wrong> {
    let bounds = [
        ("answer_ms", written.answer_ms, 100, 600_000),
        ("silence_ms", written.silence_ms, 100, 86_400_000),
        ("connections_max", written.connections_max as u64, 1, 100_000),
        ("receive_buffer_bytes", written.receive_buffer_bytes as u64, 65_536, 1 << 30),
    ];
    for (key, value, min, max) in bounds {
        if !(min..=max).contains(&value) {
            return Err((key, format!("{value} is not within {min} and {max}")));
        }
    }
    let mut ids = written.ids.iter().chain(&written.id);
    match ids.find(|id| is_reserved(**id)) {
        Some(id) => Err(("id", format!("{id} is reserved: an IDCODE is 1 to 65534"))),
        None => Ok(()),
    }
}

fn is_reserved(id: u16) -> bool {
    matches!(id, 0 | u16::MAX)
}

fn source(url: &str, written: &Written) -> Result<Source, Wrong> {
    let (scheme, rest) = split(url, "url")?;
    let is_devices = scheme == "tcp";
    if !is_devices && !written.more.is_empty() {
        return Err(("more", "only devices that are connected to (tcp://) can be several".into()));
    }
    if scheme != "udp" && (written.commands.is_some() || written.interface.is_some()) {
        return Err(("commands", "this and `interface` are for url = \"udp://...\"".into()));
    }
    match scheme {
        "tcp" => devices(url, written).map(Source::Devices),
        "tcp-listen" => Ok(Source::Listener {
            address: address("url", rest, TCP_PORT)?,
            id: written.id,
            connections_max: written.connections_max,
        }),
        "udp" => Ok(Source::Datagrams {
            address: address("url", rest, UDP_PORT)?,
            interface: written.interface,
            commands: written.commands.as_deref().map(|url| commands(url, written)).transpose()?,
            receive_buffer_bytes: written.receive_buffer_bytes,
        }),
        _ => Err(("url", format!("`{scheme}` is none of: tcp, tcp-listen, udp"))),
    }
}

fn devices(url: &str, written: &Written) -> Result<Vec<Device>, Wrong> {
    let mut devices = vec![device("url", url, "tcp", TCP_PORT, written.id)?];
    for url in &written.more {
        devices.push(device("more", url, "tcp", TCP_PORT, None)?);
    }
    Ok(devices)
}

fn commands(url: &str, written: &Written) -> Result<Commands, Wrong> {
    if split(url, "commands")?.0 == "udp" {
        return device("commands", url, "udp", TCP_PORT, written.id).map(Commands::Datagrams);
    }
    device("commands", url, "tcp", TCP_PORT, written.id).map(Commands::Connection)
}

/// `scheme://host:port/IDCODE`, where the last part may be said by the key `id` instead.
fn device(
    key: &'static str,
    url: &str,
    wanted: &str,
    port: u16,
    id: Option<u16>,
) -> Result<Device, Wrong> {
    let (scheme, rest) = split(url, key)?;
    if scheme != wanted {
        return Err((key, format!("`{url}`: write {wanted}://host:port/IDCODE")));
    }
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let said = if path.is_empty() { id } else { path.parse().ok() };
    let id = said.filter(|id| !is_reserved(*id)).ok_or_else(|| {
        let error = format!("`{url}`: which IDCODE? Write {wanted}://host:port/IDCODE, or `id`");
        (key, error)
    })?;
    if host.is_empty() {
        return Err((key, format!("`{url}` names no host")));
    }
    Ok(Device { address: with_port(host, port), id })
}

fn split<'a>(url: &'a str, key: &'static str) -> Result<(&'a str, &'a str), Wrong> {
    url.split_once("://").ok_or_else(|| (key, format!("`{url}`: write scheme://host:port")))
}

fn address(key: &'static str, host: &str, port: u16) -> Result<SocketAddr, Wrong> {
    let host = host.trim_end_matches('/');
    with_port(host, port).parse().map_err(|_| {
        (key, format!("`{host}`: here an address of this host is needed, as 0.0.0.0:{port}"))
    })
}

/// A host with the port that the standard recommends, where none is said.
fn with_port(host: &str, port: u16) -> String {
    let has_port = match host.rsplit_once(':') {
        Some((before, digits)) => {
            // In an IPv6 address without brackets the last part is no port.
            let is_number = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
            is_number && (!before.contains(':') || before.ends_with(']'))
        }
        None => false,
    };
    if has_port { host.to_owned() } else { format!("{host}:{port}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Settings, String> {
        let table = format!("name = \"north\"\nkind = \"c37118\"\n{text}").parse().unwrap();
        let mut reader = Reader::new("bridge", 0, &table);
        let common = Common::take(&mut reader)?;
        Settings::read(&common, reader)
    }

    fn device(address: &str, id: u16) -> Device {
        Device { address: address.to_owned(), id }
    }

    #[test]
    fn devices_are_named_by_host_port_and_idcode() {
        let settings =
            read("url = \"tcp://pmu.example:4712/7\"\nmore = [\"tcp://[::1]/8\"]").unwrap();
        let devices = vec![device("pmu.example:4712", 7), device("[::1]:4712", 8)];
        assert_eq!(settings.source, Source::Devices(devices));
        assert_eq!((&*settings.stream, settings.has_json), ("north", true));
        assert_eq!(settings.patience.answer_ns, 5_000_000_000);
        let settings = read("url = \"tcp://10.0.0.1\"\nid = 9\nconfiguration = \"cfg3\"").unwrap();
        assert_eq!(settings.source, Source::Devices(vec![device("10.0.0.1:4712", 9)]));
        assert_eq!(settings.configuration, Wanted::Cfg3);
    }

    #[test]
    fn datagrams_may_be_asked_for_either_way() {
        let of = |text: &str| match read(text).unwrap().source {
            Source::Datagrams { address, commands, .. } => (address.to_string(), commands),
            other => panic!("{other:?}"),
        };
        assert_eq!(of("url = \"udp://0.0.0.0\""), ("0.0.0.0:4713".into(), None));
        let text = "url = \"udp://239.1.2.3:9\"\ninterface = \"10.0.0.1\"\n\
                    commands = \"tcp://10.0.0.2/5\"";
        let asked = Commands::Connection(device("10.0.0.2:4712", 5));
        assert_eq!(of(text), ("239.1.2.3:9".into(), Some(asked)));
        let text = "url = \"udp://0.0.0.0:1\"\nid = 5\ncommands = \"udp://10.0.0.2:4\"";
        assert_eq!(of(text).1, Some(Commands::Datagrams(device("10.0.0.2:4", 5))));
    }

    #[test]
    fn what_is_wrong_is_named_with_a_remedy() {
        for (text, part) in [
            ("url = \"tcp://10.0.0.1:4712\"", "url: `tcp://10.0.0.1:4712`: which IDCODE?"),
            ("url = \"tcp://10.0.0.1/0\"", "which IDCODE?"),
            ("url = \"tcp:///5\"", "names no host"),
            ("url = \"10.0.0.1\"", "write scheme://host:port"),
            ("url = \"http://10.0.0.1\"", "none of: tcp, tcp-listen, udp"),
            ("url = \"udp://pmu.example:4713\"", "an address of this host is needed"),
            ("url = \"udp://0.0.0.0\"\nmore = [\"tcp://a/1\"]", "more: only devices"),
            ("url = \"tcp://a/1\"\ncommands = \"tcp://a/1\"", "commands: this and"),
            ("url = \"tcp://a/1\"\nanswer_ms = 5", "answer_ms: 5 is not within 100 and 600000"),
            ("url = \"tcp://a/1\"\nids = [65535]", "id: 65535 is reserved"),
            ("url = \"tcp://a/1\"\nstream = \"a/b\"", "stream: `a/b` is no segment"),
            ("url = \"tcp://a/1\"\nout = [\"#\"]", "out: a c37118 bridge only takes in"),
            ("url = \"tcp://a/1\"\nin = [\"x\"]", "in: the streams that are taken"),
            ("url = \"tcp://a/1\"\nspeed = 5", "unknown field `speed`"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.starts_with("bridge \"north\": ") && error.contains(part), "{error}");
        }
    }
}
