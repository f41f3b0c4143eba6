//! The settings of an MQTT bridge beside the common ones. Owns their defaults, ranges and what must
//! hold between them. Must not connect.

use gridcast::feed::topic::Target;
use serde::Deserialize;

use crate::bridge::mapping::Mapping;
use crate::bridge::payload::Payload;
use crate::bridge::settings::Common;
use crate::mqtt::filter::Filter;

/// The versions of MQTT.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub enum Version {
    #[serde(rename = "3.1.1")]
    V311,
    #[default]
    #[serde(rename = "5")]
    V5,
}

/// The keys of a `[[bridge]]` with `kind = "mqtt"`; `docs/bridges/mqtt.md` says why each is there.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Which MQTT is spoken.
    pub version: Version,
    /// Who it is for the broker, which keeps what comes for it while it is away.
    pub client_id: Option<String>,
    /// The QoS that is asked for.
    pub qos: u8,
    /// The QoS of what goes out.
    pub out_qos: u8,
    /// Topics and patterns whose messages the broker is asked to retain.
    pub retain: Vec<String>,
    /// How long the broker keeps what comes while the bridge is away (MQTT 5), s.
    pub session_expiry_s: u32,
    /// How long the connection is silent at most, s.
    pub keep_alive_s: u16,
    /// Messages on their way out that are not acknowledged.
    pub window: u16,
    /// Messages on their way in that are not acknowledged (MQTT 5).
    pub receive_max: u16,
    /// The longest packet that comes in.
    pub packet_bytes_max: u32,
    /// What is published as text.
    pub payload: Payload,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            version: Version::V5,
            client_id: None,
            qos: 1,
            out_qos: 1,
            retain: Vec::new(),
            session_expiry_s: 3600,
            keep_alive_s: 30,
            window: 256,
            receive_max: 256,
            packet_bytes_max: 2 << 20,
            payload: Payload::default(),
        }
    }
}

/// What is read out of `in` and `retain`.
#[derive(Clone, Debug)]
pub struct Topics {
    pub filters: Vec<Filter>,
    pub retain: Vec<Target>,
}

impl Settings {
    /// Checks each value and what must hold between them.
    ///
    /// # Errors
    /// The key that is wrong, and why.
    pub fn check(&self, common: &Common) -> Result<Topics, String> {
        in_range("qos", self.qos.into(), 0, 1)?;
        in_range("out_qos", self.out_qos.into(), 0, 1)?;
        in_range("keep_alive_s", self.keep_alive_s.into(), 2, 65_535)?;
        in_range("window", self.window.into(), 1, 10_000)?;
        in_range("receive_max", self.receive_max.into(), 1, 65_535)?;
        in_range("packet_bytes_max", self.packet_bytes_max, 1024, 256 << 20)?;
        if self.client_id.as_ref().is_some_and(|id| id.is_empty() || id.len() > 65_535) {
            return Err("client_id: the broker knows a session by it: 1 to 65,535 bytes".into());
        }
        check_credentials(common)?;
        let topics = self.topics(common)?;
        self.check_loops(common, &topics.filters)?;
        Ok(topics)
    }

    fn topics(&self, common: &Common) -> Result<Topics, String> {
        let filter = |text: &String| Filter::new(text).map_err(|e| format!("in: `{text}`: {e}"));
        let target = |text: &String| text.parse().map_err(|e| format!("retain: `{text}`: {e}"));
        Ok(Topics {
            filters: common.inputs.iter().map(filter).collect::<Result<_, _>>()?,
            retain: self.retain.iter().map(target).collect::<Result<_, _>>()?,
        })
    }

    /// MQTT 5 does not send back what this connection published. MQTT 3.1.1 does, and a message
    /// does not say who sent it, so there nothing may go out by a name that comes in.
    fn check_loops(&self, common: &Common, filters: &[Filter]) -> Result<(), String> {
        let is_renamed = common.map_out != Mapping::default();
        for filter in filters {
            let is_cut = self.version == Version::V5 && filter.is_unshared();
            let overlaps = |target: &&Target| filter.overlaps(target.as_str());
            if let Some(target) = common.outputs.iter().find(overlaps)
                && !is_cut
                && !is_renamed
            {
                return Err(format!(
                    "out: what goes out by `{target}` would come back by `{}`: only MQTT 5 without \
                     $share keeps it away; use `version = \"5\"`, or other names with `map_out`",
                    filter.as_str(),
                ));
            }
        }
        Ok(())
    }

    /// Who it is for the broker.
    pub fn client_id(&self, bridge: &str) -> String {
        self.client_id.clone().unwrap_or_else(|| format!("gridcast-{bridge}"))
    }
}

fn check_credentials(common: &Common) -> Result<(), String> {
    let credentials = &common.credentials;
    if credentials.token_file.is_some() {
        return Err("token_file: MQTT has none: a token goes into `password_file`".into());
    }
    if credentials.password_file.is_some() && credentials.user.is_none() {
        return Err("password_file: MQTT takes a password only with a `user`".into());
    }
    Ok(())
}

fn in_range(key: &str, value: u32, min: u32, max: u32) -> Result<(), String> {
    if (min..=max).contains(&value) {
        Ok(())
    } else {
        Err(format!("{key}: {value} is not from {min} to {max}"))
    }
}
