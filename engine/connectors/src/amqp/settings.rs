//! The settings of bridges to RabbitMQ and others that speak AMQP 0-9-1. Must not connect.

use serde::Deserialize;

use crate::bridge::payload::Payload;
use crate::bridge::settings::Common;

/// What `kind = "amqp"` has beside the common settings.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The exchange that the queue is bound to, and that messages go out to. One that is declared
    /// is of the type `topic`.
    #[serde(default = "default_exchange")]
    pub exchange: String,
    /// The queue that is read. Bridges of several engines that read one queue share its messages.
    pub queue: Option<String>,
    /// Declares exchange and queue, both durable, and binds the queue with the keys in `in`. Where
    /// not, the queue is taken as it is, and `in` stays empty.
    #[serde(default = "default_declare")]
    pub declare: bool,
    /// Whether what comes in is published as text or binary.
    #[serde(default)]
    pub payload: Payload,
    /// Deliveries that are sent ahead of their acknowledgement. The memory of a bridge is at most
    /// so many messages.
    #[serde(default = "default_prefetch")]
    pub prefetch: u16,
    /// Messages that went out and wait for the broker's confirmation.
    #[serde(default = "default_confirms_max")]
    pub confirms_max: usize,
    /// Whether the broker writes messages that go out to its disk.
    #[serde(default = "default_persistent")]
    pub persistent: bool,
}

impl Settings {
    /// Checks them together with the common ones.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn check(&self, common: &Common) -> Result<(), String> {
        let declares_nothing = self.declare && common.inputs.is_empty();
        match (&self.queue, common.inputs.is_empty()) {
            (None, true) if common.outputs.is_empty() => {
                return Err("set `queue`, `out` or both: nothing would be moved".to_owned());
            }
            (None, false) => return Err("`in` needs a `queue` to bind".to_owned()),
            (Some(_), false) if !self.declare => {
                return Err("declare = false takes the queue as it is: leave `in` out".to_owned());
            }
            (Some(_), _) if declares_nothing => {
                return Err("`in` is missing: the keys to bind the queue with, or declare = false"
                    .to_owned());
            }
            _ => {}
        }
        let ranges =
            [("prefetch", usize::from(self.prefetch)), ("confirms_max", self.confirms_max)];
        match ranges.into_iter().find(|(_, value)| !(1..=50_000).contains(value)) {
            Some((key, value)) => Err(format!("{key} = {value} is not within 1 to 50000")),
            None => Ok(()),
        }
    }
}

fn default_exchange() -> String {
    "amq.topic".to_owned()
}

const fn default_declare() -> bool {
    true
}

/// At 100-byte messages and 1 ms to the broker, more changes nothing.
const fn default_prefetch() -> u16 {
    1_000
}

const fn default_confirms_max() -> usize {
    1_000
}

const fn default_persistent() -> bool {
    true
}
