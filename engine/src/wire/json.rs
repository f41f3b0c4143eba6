//! Which JSON every parser reads alike. The grammar allows more than parsers do: numbers beyond any
//! type, half a surrogate pair, nesting without an end (RFC 8259 sections 6, 8.2, 9). Must not know
//! what a text is for.

use std::ops::Range;

use serde::de::IgnoredAny;

/// The deepest nesting of JSON that is embedded: with the envelope's own level 64, where the limits
/// of widespread parsers begin. One publisher must not make envelopes unreadable to others.
const DEPTH_MAX: u32 = 63;
/// So many digits fit a 64-bit integer, whatever they are.
const DIGITS_SAFE: usize = 18;
/// A number without an exponent and of so few bytes is finite.
const DECIMAL_BYTES_SAFE: usize = 300;

/// A part of a JSON text.
enum Token {
    /// A string, quotes included.
    String(Range<usize>),
    /// A number.
    Number(Range<usize>),
    /// An object or an array begins.
    Open,
    /// One ends.
    Close,
}

/// By the grammar alone.
#[must_use]
pub fn is_valid(json: &[u8]) -> bool {
    serde_json::from_slice::<IgnoredAny>(json).is_ok()
}

/// What is wrong with a text that is not JSON, and where, for whoever wrote it.
#[must_use]
pub fn fault(json: &[u8]) -> String {
    match json {
        [0xEF, 0xBB, 0xBF, ..] => {
            return "it begins with a byte order mark (U+FEFF) at character 1: leave that out"
                .into();
        }
        [0xFE, 0xFF, ..] | [0xFF, 0xFE, ..] => {
            return "it begins with the byte order mark of UTF-16 at byte 1: send UTF-8".into();
        }
        _ => {}
    }
    let text = match std::str::from_utf8(json) {
        Ok(text) => text,
        Err(error) => return format!("it is not UTF-8 at byte {}", error.valid_up_to() + 1),
    };
    match serde_json::from_str::<IgnoredAny>(text) {
        Ok(_) => "this parser does not take what it holds".to_owned(),
        Err(error) => format!("{} {}", fault_in_words(&error), place(text, &error)),
    }
}

/// Whether every parser accepts `json`, by its grammar and by what it holds.
#[must_use]
pub fn is_portable(json: &[u8]) -> bool {
    let mut depth = 0_u32;
    is_valid(json)
        && walk(json, |token| {
            match token {
                Token::String(at) => return lone_surrogates(slice(json, at)).next().is_none(),
                Token::Number(at) => return is_portable_number(slice(json, at)),
                Token::Open => depth += 1,
                Token::Close => depth = depth.saturating_sub(1),
            }
            depth <= DEPTH_MAX
        })
}

/// Replaces what only some parsers accept by what all do, in its place: numbers by 0, half of a
/// surrogate pair by U+FFFD. Nothing moves. For reading what stands around them.
pub fn make_portable(json: &mut [u8]) {
    let (mut numbers, mut surrogates) = (Vec::new(), Vec::new());
    walk(json, |token| {
        match token {
            Token::Number(at) if !is_portable_number(slice(json, at.clone())) => numbers.push(at),
            Token::String(at) => {
                let start = at.start;
                surrogates.extend(lone_surrogates(slice(json, at)).map(|place| start + place));
            }
            _ => {}
        }
        true
    });
    for at in numbers {
        let start = at.start;
        if let Some(number) = json.get_mut(at) {
            number.fill(b' ');
        }
        if let Some(first) = json.get_mut(start) {
            *first = b'0';
        }
    }
    for place in surrogates {
        if let Some(escape) = json.get_mut(place..place + ESCAPE_BYTES) {
            escape.copy_from_slice(b"\\ufffd");
        }
    }
}

/// The value of a member of the outermost object, if it is a string or a number; also where the
/// text is not JSON, as far as it goes.
#[must_use]
pub fn find_scalar<'j>(json: &'j [u8], key: &str) -> Option<&'j [u8]> {
    let (mut depth, mut is_named, mut found) = (0_u32, false, None);
    walk(json, |token| {
        let was_named = std::mem::take(&mut is_named);
        match token {
            Token::Open => depth += 1,
            Token::Close => depth = depth.saturating_sub(1),
            Token::String(at) | Token::Number(at) if was_named => found = json.get(at),
            Token::String(at) => {
                let after = json.get(at.end..).unwrap_or_default().trim_ascii_start();
                let name = slice(json, at);
                let is_it = name.len() == key.len() + 2 && name[1..].starts_with(key.as_bytes());
                is_named = depth == 1 && is_it && after.first() == Some(&b':');
            }
            Token::Number(_) => {}
        }
        found.is_none()
    });
    found
}

/// The parser's words, without its place, and plainer where they are its own.
fn fault_in_words(error: &serde_json::Error) -> String {
    let told = error.to_string();
    let told = told.split(" at line ").next().unwrap_or_default();
    match told.strip_prefix("EOF while parsing ") {
        Some("a value") => return "it ends where a value should be".to_owned(),
        Some(what) => return format!("it ends within {what}"),
        None => {}
    }
    let plain = match told {
        "expected value" => "expected a value",
        "expected ident" => "expected true, false or null",
        "trailing characters" => "expected nothing more",
        "key must be a string" => "expected a key in double quotes",
        _ if told.starts_with("control character") => "a control character that is not escaped",
        _ => told,
    };
    plain.to_owned()
}

/// Characters are counted from 1, lines only where there are several.
fn place(text: &str, error: &serde_json::Error) -> String {
    let row = text.split('\n').nth(error.line().saturating_sub(1)).unwrap_or_default();
    let character = row.char_indices().take_while(|(at, _)| *at < error.column()).count();
    let word = if error.is_eof() { "after" } else { "at" };
    match text.contains('\n') {
        true => format!("{word} character {character} of line {}", error.line()),
        false => format!("{word} character {character}"),
    }
}

/// Goes over the tokens until `goes_on` says no; whether it never did. What is not JSON is gone
/// over as well.
fn walk(json: &[u8], mut goes_on: impl FnMut(Token) -> bool) -> bool {
    let mut at = 0;
    while let Some(byte) = json.get(at) {
        let (end, token) = match byte {
            b'"' => {
                let end = string_end(json, at);
                (end, Token::String(at..end))
            }
            b'-' | b'0'..=b'9' => {
                let end = number_end(json, at);
                (end, Token::Number(at..end))
            }
            b'{' | b'[' => (at + 1, Token::Open),
            b'}' | b']' => (at + 1, Token::Close),
            _ => {
                at += 1;
                continue;
            }
        };
        if !goes_on(token) {
            return false;
        }
        at = end;
    }
    true
}

fn string_end(json: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    loop {
        match json.get(at) {
            Some(b'"') => return at + 1,
            Some(b'\\') => at += 2,
            Some(_) => at += 1,
            None => return json.len(),
        }
    }
}

fn number_end(json: &[u8], start: usize) -> usize {
    let is_of_number = |byte: &u8| matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E');
    let rest = json.get(start..).unwrap_or_default();
    start + rest.iter().position(|byte| !is_of_number(byte)).unwrap_or(rest.len())
}

fn is_portable_number(number: &[u8]) -> bool {
    let is_scaled = number.iter().any(|byte| matches!(byte, b'e' | b'E'));
    let is_whole = !number.contains(&b'.');
    if !is_scaled && number.len() <= if is_whole { DIGITS_SAFE } else { DECIMAL_BYTES_SAFE } {
        return true;
    }
    let text = std::str::from_utf8(number).unwrap_or_default();
    match is_whole && !is_scaled {
        true => text.parse::<i64>().is_ok() || text.parse::<u64>().is_ok(),
        false => text.parse::<f64>().is_ok_and(f64::is_finite),
    }
}

/// Bytes of `\uD800`.
const ESCAPE_BYTES: usize = 6;

/// Where in a string halves of surrogate pairs stand alone.
fn lone_surrogates(string: &[u8]) -> impl Iterator<Item = usize> {
    let mut at = 0;
    std::iter::from_fn(move || {
        loop {
            at += string.get(at..)?.iter().position(|&byte| byte == b'\\')?;
            let place = at;
            match (escaped(string, at), escaped(string, at + ESCAPE_BYTES)) {
                (Some(0xD800..=0xDBFF), Some(0xDC00..=0xDFFF)) => at += 2 * ESCAPE_BYTES,
                (Some(0xD800..=0xDFFF), _) => {
                    at += ESCAPE_BYTES;
                    return Some(place);
                }
                _ => at += 2,
            }
        }
    })
}

/// The code unit that an escape `\u0000` at this place stands for.
fn escaped(string: &[u8], at: usize) -> Option<u16> {
    let digits = string.get(at..at + ESCAPE_BYTES)?.strip_prefix(b"\\u")?;
    u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

fn slice(json: &[u8], at: Range<usize>) -> &[u8] {
    json.get(at).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_some_parsers_refuse_is_not_portable() {
        for (json, is) in [
            ("1e999", false),
            ("-1E+400", false),
            ("[1, {\"a\": 1e309}]", false),
            ("1e308", true),
            ("1e-999", true),
            ("18446744073709551615", true),
            ("18446744073709551616", false),
            ("-9223372036854775808", true),
            ("-9223372036854775809", false),
            ("123456789012345678901234567890", false),
            ("0.10000000000000000000001", true),
            ("\"1e999\"", true),
            ("\"\\ud83d\\ude00\"", true),
            ("\"\\ud83d\"", false),
            ("\"\\ude00\\ud83d\"", false),
            ("{\"\\uDC00\":1}", false),
            ("\"\\\\ud83d\"", true),
            (" [1, 2] ", true),
            ("", false),
            ("nul", false),
            ("{}{}", false),
            ("01", false),
        ] {
            assert_eq!(is_portable(json.as_bytes()), is, "{json}");
        }
    }

    #[test]
    fn what_is_no_json_is_told_in_words_and_by_its_place() {
        for (json, told) in [
            ("\u{feff}{}", "it begins with a byte order mark (U+FEFF) at character 1"),
            ("", "it ends where a value should be after character 0"),
            ("{\"a\":1", "it ends within an object after character 6"),
            ("{\"a\":\"x", "it ends within a string after character 7"),
            ("[1", "it ends within a list after character 2"),
            ("nope", "expected true, false or null at character 2"),
            ("{\"ä\":ö}", "expected a value at character 6"),
            ("{\"a\":1}}", "expected nothing more at character 8"),
            ("{\"a\":1,}", "expected a key in double quotes at character 8"),
            ("{\"a\" 1}", "expected `:` at character 6"),
            ("{a:1}", "expected a key in double quotes at character 2"),
            ("[1 2]", "expected `,` or `]` at character 4"),
            ("[01]", "invalid number at character 3"),
            ("[\"\t\"]", "a control character that is not escaped at character "),
            ("[\"\\x\"]", "invalid escape at character 4"),
            ("[1,\n 2,\n x]", "expected a value at character 2 of line 3"),
        ] {
            let fault = fault(json.as_bytes());
            assert!(fault.starts_with(told), "{json}: {fault}");
        }
        assert_eq!(fault(b"[\"\xFF\"]"), "it is not UTF-8 at byte 3");
        assert!(fault(b"\xFF\xFE{\0}\0").contains("UTF-16"));
    }

    #[test]
    fn what_is_softened_keeps_its_place() {
        let mut json = br#"{"a":1e999,"b":[-18446744073709551616 , 5],"c":"x\uD800y"}"#.to_vec();
        let length = json.len();
        make_portable(&mut json);
        let expected = r#"{"a":0    ,"b":[0                     , 5],"c":"x\ufffdy"}"#;
        assert_eq!((std::str::from_utf8(&json).unwrap(), json.len()), (expected, length));
    }

    #[test]
    fn a_member_is_found_in_what_is_not_json_as_well() {
        for (json, found) in [
            (r#"{"id":7,"publish":{"data":nope}}"#, Some("7")),
            (r#"{"publish":{"id":1,"data":nope},"id": "x\"y" }"#, Some(r#""x\"y""#)),
            (r#"{"a":"id","id":{"id":1}}"#, None),
            (r#"{"id":12"#, Some("12")),
            (r#"{"publish":{"data":"never ended,"id":1}"#, None),
            (r#"["id",1]"#, None),
            ("", None),
        ] {
            let id = find_scalar(json.as_bytes(), "id");
            assert_eq!(id.map(|id| std::str::from_utf8(id).unwrap()), found, "{json}");
        }
    }
}
