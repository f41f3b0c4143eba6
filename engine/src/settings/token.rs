//! What an `[[auth.token]]` says: the settings of one token of the file. Must not read values (that
//! is `layers`).

use crate::settings::knob::{Kind, Knob, list, path, text};

/// What an `[[auth.token]]` says.
pub const TOKEN: &[Knob] = &[
    text("auth.token", "name", "Who it stands for, in logs and limits."),
    Knob {
        section: "auth.token",
        key: "token",
        kind: Kind::Text { is_secret: true },
        reason: "The token itself.",
    },
    path("auth.token", "token_file", "The file that holds it."),
    text("auth.token", "sha256", "Its SHA-256 in hexadecimal."),
    list("auth.token", "subscribe", "Topics and patterns it may subscribe to."),
    list("auth.token", "publish", "Topics and patterns it may publish to."),
    Knob {
        section: "auth.token",
        key: "admin",
        kind: Kind::Switch,
        reason: "Whether it may administer the engine.",
    },
];
