//! Fields of a frame's body, read one after the other. All integers are big-endian. Must not know
//! which fields a frame has.

/// The rest of a body. Every read answers `None` where too little is left.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    /// All of a body.
    pub(crate) fn new(body: &'a [u8]) -> Self {
        Self { rest: body }
    }

    /// What has not been read yet.
    pub(crate) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// The next bytes, so many of them.
    pub(crate) fn take(&mut self, bytes: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(bytes)?;
        self.rest = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.rest.split_first_chunk()?;
        self.rest = rest;
        Some(*taken)
    }

    pub(crate) fn u8(&mut self) -> Option<u8> {
        self.array().map(|[byte]| byte)
    }

    pub(crate) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    pub(crate) fn i16(&mut self) -> Option<i16> {
        self.array().map(i16::from_be_bytes)
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    pub(crate) fn f32(&mut self) -> Option<f32> {
        self.array().map(f32::from_be_bytes)
    }

    /// A name of 16 bytes, padded with spaces or zeros.
    pub(crate) fn padded_name(&mut self) -> Option<Box<str>> {
        self.take(16).map(text)
    }

    /// A name after a byte that says how long it is.
    pub(crate) fn counted_name(&mut self) -> Option<Box<str>> {
        let bytes = self.u8()?;
        self.take(usize::from(bytes)).map(text)
    }
}

/// What bytes say, without padding; what is no UTF-8 is replaced, not refused.
pub(crate) fn text(bytes: &[u8]) -> Box<str> {
    let text = String::from_utf8_lossy(bytes);
    text.trim_matches(|c: char| c.is_whitespace() || c.is_control()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_read_in_order_and_never_beyond_the_end() {
        let mut fields = Fields::new(&[1, 0, 2, 0xFF, 0xFE, 3, b'a', b'b', 0]);
        assert_eq!((fields.u8(), fields.u16(), fields.i16()), (Some(1), Some(2), Some(-2)));
        assert_eq!(fields.u32(), Some(0x0361_6200));
        assert_eq!((fields.u8(), fields.rest()), (None, &[][..]));
    }

    #[test]
    fn names_lose_their_padding_and_nothing_else() {
        let mut fields = Fields::new(b"A name          \x03\xC3\xA4 \x05ab");
        assert_eq!(fields.padded_name().as_deref(), Some("A name"));
        assert_eq!(fields.counted_name().as_deref(), Some("\u{e4}"));
        assert_eq!(fields.counted_name(), None, "it says five bytes");
    }
}
