//! Which settings only a restart changes. A table and nothing else: any other setting takes effect
//! at SIGHUP, because the cores look at it anew each turn.

/// True when a change of the setting `name`, `section.key`, needs a restart.
#[must_use]
pub fn is_needed(name: &str) -> bool {
    STARTING.contains(&name)
}

/// Settings that are read once, when the engine starts.
const STARTING: &[&str] = &[
    "server.listen",
    "server.cores",
    "server.handover",
    "tls.certificate",
    "tls.key",
    "tls.client_ca",
    "tls.client_auth",
    "admin.listen",
    "limits.topics_max",
    "limits.patterns_max",
    "limits.rates_per_target_max",
    "limits.awaited_topics_max",
    "limits.awaited_topics_per_token_max",
    "limits.awaited_topics_per_connection_max",
    "retention.frames_max",
    "retention.bytes_max",
    "retention.age_ms_max",
    "retention.lag",
    "retention.class",
    "memory.log_bytes_max",
    "memory.compact_idle_s",
    "memory.topic_idle_s",
    "flush.send_buffer_bytes",
    "keepalive.heartbeat_ms",
    "log.format",
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::table::{KNOBS, Knob, ROWS, Rows};

    #[test]
    fn each_of_them_exists() {
        let names: Vec<String> =
            KNOBS.iter().map(Knob::name).chain(ROWS.iter().map(Rows::name)).collect();
        for name in STARTING {
            assert!(names.iter().any(|known| known == name), "{name}");
        }
    }
}
