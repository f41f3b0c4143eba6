//! The layout of `run.json`: one line for each key, and each list on one line, so that a person can
//! read it and thousands of counts stay short. Must not know its contents.

use std::io;

use serde::Serialize;
use serde_json::Serializer;
use serde_json::Value;
use serde_json::ser::{Formatter, PrettyFormatter};

/// A document as text, ending with a line feed.
///
/// # Errors
/// Never for a [`Value`]; other serialisable types may fail.
pub fn json_text(document: &Value) -> serde_json::Result<Vec<u8>> {
    let mut text = Vec::new();
    let layout = Layout { objects: PrettyFormatter::new() };
    document.serialize(&mut Serializer::with_formatter(&mut text, layout))?;
    text.push(b'\n');
    Ok(text)
}

/// Objects in the usual layout; lists use the default, which is one line.
struct Layout {
    objects: PrettyFormatter<'static>,
}

impl Formatter for Layout {
    fn begin_array_value<W>(&mut self, out: &mut W, first: bool) -> io::Result<()>
    where
        W: ?Sized + io::Write,
    {
        out.write_all(if first { b"" } else { b", " })
    }

    fn begin_object<W>(&mut self, out: &mut W) -> io::Result<()>
    where
        W: ?Sized + io::Write,
    {
        self.objects.begin_object(out)
    }

    fn end_object<W>(&mut self, out: &mut W) -> io::Result<()>
    where
        W: ?Sized + io::Write,
    {
        self.objects.end_object(out)
    }

    fn begin_object_key<W>(&mut self, out: &mut W, first: bool) -> io::Result<()>
    where
        W: ?Sized + io::Write,
    {
        self.objects.begin_object_key(out, first)
    }

    fn begin_object_value<W>(&mut self, out: &mut W) -> io::Result<()>
    where
        W: ?Sized + io::Write,
    {
        self.objects.begin_object_value(out)
    }

    fn end_object_value<W>(&mut self, out: &mut W) -> io::Result<()>
    where
        W: ?Sized + io::Write,
    {
        self.objects.end_object_value(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn text(document: &Value) -> String {
        String::from_utf8(json_text(document).unwrap()).unwrap()
    }

    #[test]
    fn lists_of_numbers_take_one_line() {
        let document = json!({ "a": { "pairs": [[1, 20], [3, 40]] }, "b": [], "c": {} });
        let expected = "{\n  \"a\": {\n    \"pairs\": [[1, 20], [3, 40]]\n  },\n  \"b\": [],\n  \
                        \"c\": {}\n}\n";
        assert_eq!(text(&document), expected);
    }

    #[test]
    fn what_is_written_is_what_was_meant() {
        let document = json!([{ "x": [{ "y": null }, 1.5, "]\"," ] }, {}, [[]]]);
        assert_eq!(serde_json::from_str::<Value>(&text(&document)).unwrap(), document);
    }
}
