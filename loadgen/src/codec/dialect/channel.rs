//! What topics are called in protocols that write names otherwise. Must not know messages.

/// Translates a topic to a NATS subject: dots instead of slashes, and NATS wildcards.
pub fn subject(topic: &str) -> String {
    let of = |segment: &str| match segment {
        "#" => ">".to_owned(),
        "+" => "*".to_owned(),
        other => other.replace('.', "_"),
    };
    topic.split('/').map(of).collect::<Vec<_>>().join(".")
}

/// Translates a topic to a channel name: dots instead of slashes, and only a few other characters.
pub fn private_channel(topic: &str) -> String {
    let fitting = |c: char| match c {
        '/' => '.',
        c if c.is_ascii_alphanumeric() || "_-=@,.;".contains(c) => c,
        _ => '_',
    };
    format!("private-{}", topic.chars().map(fitting).collect::<String>())
}
