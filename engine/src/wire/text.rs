//! Appends text to byte buffers, formatted or as JSON strings. Must not know what is written.

use std::fmt::Arguments;
use std::io::Write;

/// Appends formatted text.
pub fn text(out: &mut impl Write, args: Arguments<'_>) {
    // Writing to memory cannot fail: a Vec grows, and a slice was sized for it.
    let _ = out.write_fmt(args);
}

/// Appends `text` as a JSON string, quotes included.
pub fn json_string(out: &mut Vec<u8>, text: &str) {
    let written = serde_json::to_writer(out, text);
    debug_assert!(written.is_ok(), "a string is always JSON, and a Vec takes it");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_json_reserves_is_escaped_and_nothing_else() {
        let mut out = Vec::new();
        text(&mut out, format_args!("{}=", "k"));
        json_string(&mut out, "a\"b\\\u{1}ä/\u{2028}");
        assert_eq!(String::from_utf8(out).unwrap(), "k=\"a\\\"b\\\\\\u0001ä/\u{2028}\"");
    }
}
