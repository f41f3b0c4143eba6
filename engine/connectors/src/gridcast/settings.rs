//! The settings of a bridge to another gridcast. Owns their ranges, and that nothing that is sent
//! comes back. Must not connect.

use gridcast::feed::topic::{Target, Topic};
use serde::Deserialize;

use crate::bridge::dial::{Address, Scheme};
use crate::bridge::mapping::Mapping;
use crate::bridge::settings::Common;
use crate::table::Reader;

/// How the address of another gridcast begins.
const SCHEMES: [Scheme; 2] = [
    Scheme { name: "ws", port: 9400, is_tls: false },
    Scheme { name: "wss", port: 443, is_tls: true },
];

/// What is said beside the common keys.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    /// Messages that are sent before the first of them is acknowledged.
    #[serde(default = "window")]
    window: usize,
    /// Bytes of their commands.
    #[serde(default = "window_bytes")]
    window_bytes: usize,
    /// Silence after which the link is taken for dead, ms.
    #[serde(default = "quiet_ms")]
    quiet_ms: u64,
    /// The topic on which missing messages are told; empty for none.
    #[serde(default = "notices")]
    notices: String,
}

/// Twenty thousand messages a second where an answer takes 50 ms.
const fn window() -> usize {
    1_024
}

const fn window_bytes() -> usize {
    8 << 20
}

/// Three pings without an answer.
const fn quiet_ms() -> u64 {
    15_000
}

fn notices() -> String {
    "gap/{name}".to_owned()
}

/// Settings that are right.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where the far end is.
    pub address: Address,
    /// What is followed there.
    pub inputs: Vec<Target>,
    /// Messages that may be without an acknowledgement.
    pub window: usize,
    /// Bytes of their commands.
    pub window_bytes: usize,
    /// Silence after which the link is taken for dead, ms.
    pub quiet_ms: u64,
    /// The topic on which missing messages are told.
    pub notices: Option<Topic>,
}

impl Settings {
    /// Reads what is left of a table.
    ///
    /// # Errors
    /// The first thing that is wrong, in words that name the bridge and the key.
    pub fn of(common: &Common, reader: Reader) -> Result<Self, String> {
        let bridge = reader.name.clone();
        let wrong = |key: &str, error: String| format!("{bridge}: {key}: {error}");
        let written: Written = reader.rest()?;
        let address =
            Address::parse(&common.url, &SCHEMES).map_err(|e| format!("{bridge}: {e}"))?;
        let credentials = &common.credentials;
        if credentials.user.is_some() || credentials.password_file.is_some() {
            let error = "gridcast knows tokens alone: use `token_file`";
            return Err(wrong("user, password_file", error.to_owned()));
        }
        let inputs = common
            .inputs
            .iter()
            .map(|text| text.parse().map_err(|error| wrong("in", format!("`{text}`: {error}"))));
        let inputs: Vec<Target> = inputs.collect::<Result<_, _>>()?;
        if inputs.is_empty() && common.outputs.is_empty() {
            return Err(format!("{bridge}: nothing to do: say `in`, `out` or both"));
        }
        check_echo(common, &inputs).map_err(|error| wrong("in", error))?;
        for (key, value, min, max, unit) in [
            ("window", written.window as u64, 1, 65_536, "messages"),
            ("window_bytes", written.window_bytes as u64, 65_536, 1 << 30, "bytes"),
            ("quiet_ms", written.quiet_ms, 100, 3_600_000, "ms"),
        ] {
            if !(min..=max).contains(&value) {
                return Err(wrong(key, format!("{value} is not within {min} to {max} {unit}")));
            }
        }
        let notices = written.notices.replace("{name}", &common.name);
        let topic = (!notices.is_empty()).then(|| Topic::new(&notices)).transpose();
        let topic = topic.map_err(|error| wrong("notices", format!("`{notices}`: {error}")))?;
        Ok(Self {
            address,
            inputs,
            window: written.window,
            window_bytes: written.window_bytes,
            quiet_ms: written.quiet_ms,
            notices: topic,
        })
    }
}

/// What goes out to a topic of the far end that is followed there would come back from it. Where
/// names are mapped, that is for whoever writes the rules to see to.
fn check_echo(common: &Common, inputs: &[Target]) -> Result<(), String> {
    if common.map_out != Mapping::default() {
        return Ok(());
    }
    for input in inputs {
        if let Some(output) = common.outputs.iter().find(|output| overlap(input, output)) {
            return Err(format!(
                "`{input}` and out = `{output}` share topics: what is sent would come back"
            ));
        }
    }
    Ok(())
}

/// Whether some topic is both's.
fn overlap(one: &Target, other: &Target) -> bool {
    let (mut one, mut other) = (one.as_str().split('/'), other.as_str().split('/'));
    let mut is_first = true;
    loop {
        let share = match (one.next(), other.next()) {
            (None, None) | (Some("#"), None) | (None, Some("#")) => return true,
            (None, Some(_)) | (Some(_), None) => return false,
            (Some(a), Some(b)) => {
                // Wildcards at the beginning leave out what is the engine's own.
                let is_engines = is_first && (a.starts_with('$') || b.starts_with('$'));
                if is_engines && a != b {
                    return false;
                }
                if a == "#" || b == "#" {
                    return true;
                }
                a == b || a == "+" || b == "+"
            }
        };
        if !share {
            return false;
        }
        is_first = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn settings(lines: &str) -> Result<Settings, String> {
        let text = format!("name = \"centre\"\nkind = \"gridcast\"\n{lines}");
        let mut reader = Reader::new("bridge", 0, &text.parse().unwrap());
        let common = Common::take(&mut reader)?;
        Settings::of(&common, reader)
    }

    const URL: &str = "url = \"wss://centre.example\"\n";

    #[test]
    fn the_least_that_must_be_said_is_enough() {
        let settings = settings(&format!("{URL}out = [\"pmu/#\"]")).unwrap();
        assert_eq!((settings.address.port, settings.address.is_tls), (443, true));
        assert_eq!(settings.notices.unwrap().as_str(), "gap/centre");
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (lines, part) in [
            ("", "nothing to do"),
            ("out = [\"a\"]\nwindow = 0", "window: 0 is not within 1 to 65536 messages"),
            ("out = [\"a\"]\nwindows = 1", "windows"),
            ("out = [\"a\"]\nuser = \"me\"", "token_file"),
            ("out = [\"a\"]\nnotices = \"a//b\"", "notices: `a//b`"),
            ("in = [\"a//b\"]", "in: `a//b`"),
            ("in = [\"pmu/#\"]\nout = [\"#\"]", "would come back"),
        ] {
            let error = settings(&format!("{URL}{lines}")).unwrap_err();
            assert!(error.starts_with("bridge \"centre\"") && error.contains(part), "{error}");
        }
        assert!(settings("url = \"https://a\"\nout = [\"a\"]").unwrap_err().contains("wss://"));
        assert!(settings(&format!("{URL}in = [\"a/#\"]\nout = [\"b/#\"]\nnotices = \"\"")).is_ok());
    }

    fn targets() -> impl Strategy<Value = Target> {
        let segment = prop_oneof![Just("a"), Just("b"), Just("+"), Just("$s")];
        let rest = proptest::collection::vec(segment, 1..4);
        (rest, any::<bool>()).prop_filter_map("a target", |(segments, is_open)| {
            let text = segments.join("/") + if is_open { "/#" } else { "" };
            text.parse().ok()
        })
    }

    proptest! {
        /// No topic that both match is overlooked.
        #[test]
        fn overlap_finds_every_topic_of_both(
            one in targets(),
            other in targets(),
            topic in proptest::collection::vec("a|b|\\$s", 1..5),
        ) {
            let topic = Topic::new(&topic.join("/")).unwrap();
            prop_assert!(!(one.matches(&topic) && other.matches(&topic)) || overlap(&one, &other));
            prop_assert_eq!(overlap(&one, &other), overlap(&other, &one));
        }
    }
}
