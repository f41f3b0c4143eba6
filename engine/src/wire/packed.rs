//! Values as bytes for another process of this program: numbers, flags, bytes and lists of fixed
//! forms, little-endian. Owns that whatever is read was there, and that no length is believed
//! before its bytes are. Must not know what the values mean; each file packs its own.

use thiserror::Error;

/// Bytes that are no value of the kind that is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("not what the other process should have said: {0}")]
pub struct PackedError(pub &'static str);

/// Puts values behind one another.
#[derive(Debug, Default)]
pub struct Packer {
    bytes: Vec<u8>,
}

/// Takes them out again, in the same order.
#[derive(Debug)]
pub struct Unpacker<'a> {
    rest: &'a [u8],
}

/// A value that can be handed to another process.
pub trait Packed: Sized {
    /// Puts it behind what is there.
    fn pack(&self, out: &mut Packer);

    /// Takes it out.
    ///
    /// # Errors
    /// [`PackedError`] when the bytes are none.
    fn unpack(input: &mut Unpacker<'_>) -> Result<Self, PackedError>;

    /// All bytes of it.
    fn packed(&self) -> Vec<u8> {
        let mut out = Packer::default();
        self.pack(&mut out);
        out.into_bytes()
    }

    /// The value that `bytes` are, all of them.
    ///
    /// # Errors
    /// [`PackedError`].
    fn unpacked(bytes: &[u8]) -> Result<Self, PackedError> {
        let mut input = Unpacker::new(bytes);
        let value = Self::unpack(&mut input)?;
        input.end()?;
        Ok(value)
    }
}

impl Packer {
    /// What was packed.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// A small number, or the number of a choice.
    pub fn u8(&mut self, value: u8) {
        self.bytes.push(value);
    }

    /// A number.
    pub fn u64(&mut self, value: u64) {
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }

    /// Bytes, as many as there are.
    pub fn bytes(&mut self, value: &[u8]) {
        self.u64(value.len() as u64);
        self.bytes.extend_from_slice(value);
    }

    /// Values, as many as there are.
    pub fn list<T>(&mut self, values: &[T], pack: impl Fn(&T, &mut Self)) {
        self.u64(values.len() as u64);
        values.iter().for_each(|value| pack(value, self));
    }

    /// A value, or that there is none.
    pub fn option<T>(&mut self, value: Option<&T>, pack: impl Fn(&T, &mut Self)) {
        self.u64(value.is_some().into());
        value.into_iter().for_each(|value| pack(value, self));
    }
}

impl<'a> Unpacker<'a> {
    /// What is packed in `bytes`.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// True when all was taken out.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Nothing may be left.
    ///
    /// # Errors
    /// [`PackedError`] when something is.
    pub fn end(&self) -> Result<(), PackedError> {
        if self.is_empty() { Ok(()) } else { Err(PackedError("bytes behind the end")) }
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], PackedError> {
        let (taken, rest) = self.rest.split_at_checked(len).ok_or(PackedError("too short"))?;
        self.rest = rest;
        Ok(taken)
    }

    /// A small number, or the number of a choice.
    ///
    /// # Errors
    /// [`PackedError`].
    pub fn u8(&mut self) -> Result<u8, PackedError> {
        self.take(1).map(|byte| byte.first().copied().unwrap_or_default())
    }

    /// A flag.
    ///
    /// # Errors
    /// [`PackedError`].
    pub fn flag(&mut self) -> Result<bool, PackedError> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(PackedError("a flag that is neither")),
        }
    }

    /// A number.
    ///
    /// # Errors
    /// [`PackedError`].
    pub fn u64(&mut self) -> Result<u64, PackedError> {
        let bytes = self.take(size_of::<u64>())?;
        Ok(bytes.first_chunk().copied().map_or(0, u64::from_le_bytes))
    }

    /// A number that has to fit its type.
    ///
    /// # Errors
    /// [`PackedError`].
    pub fn number<T: TryFrom<u64>>(&mut self) -> Result<T, PackedError> {
        T::try_from(self.u64()?).map_err(|_| PackedError("a number out of its range"))
    }

    /// Bytes.
    ///
    /// # Errors
    /// [`PackedError`].
    pub fn bytes(&mut self) -> Result<&'a [u8], PackedError> {
        let len = self.number()?;
        self.take(len)
    }

    /// Text.
    ///
    /// # Errors
    /// [`PackedError`].
    pub fn text(&mut self) -> Result<&'a str, PackedError> {
        std::str::from_utf8(self.bytes()?).map_err(|_| PackedError("a text that is none"))
    }

    /// Values: each takes a byte at least, so more than there are bytes are none.
    ///
    /// # Errors
    /// [`PackedError`].
    pub fn list<T>(
        &mut self,
        mut unpack: impl FnMut(&mut Self) -> Result<T, PackedError>,
    ) -> Result<Vec<T>, PackedError> {
        let count: usize = self.number()?;
        if count > self.rest.len() {
            return Err(PackedError("more values than bytes"));
        }
        let mut values = Vec::new();
        for _ in 0..count {
            values.push(unpack(self)?);
        }
        Ok(values)
    }

    /// A value, or none.
    ///
    /// # Errors
    /// [`PackedError`].
    pub fn option<T>(
        &mut self,
        unpack: impl FnMut(&mut Self) -> Result<T, PackedError>,
    ) -> Result<Option<T>, PackedError> {
        let mut values = self.list(unpack)?;
        if values.len() > 1 { Err(PackedError("two where one may be")) } else { Ok(values.pop()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_length_is_not_believed() {
        let mut out = Packer::default();
        out.u64(u64::MAX);
        let bytes = out.into_bytes();
        assert!(Unpacker::new(&bytes).bytes().is_err());
        assert!(Unpacker::new(&bytes).list(|input| input.u8()).is_err());
        assert!(Unpacker::new(&bytes).number::<u32>().is_err());
        assert_eq!(Unpacker::new(&[2]).flag(), Err(PackedError("a flag that is neither")));
    }

    proptest! {
        #[test]
        fn what_is_packed_comes_out_and_nothing_less(
            small in any::<u8>(),
            large in any::<u64>(),
            many in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..9), 0..9),
            maybe in prop::option::of(any::<u64>()),
        ) {
            let mut out = Packer::default();
            out.u8(small);
            out.u64(large);
            out.list(&many, |bytes, out| out.bytes(bytes));
            out.option(maybe.as_ref(), |value, out| out.u64(*value));
            let bytes = out.into_bytes();
            let read = |bytes| {
                let mut input = Unpacker::new(bytes);
                let small = input.u8()?;
                let large = input.u64()?;
                let many = input.list(|input| Ok(input.bytes()?.to_vec()))?;
                let maybe = input.option(|input| input.u64())?;
                input.end()?;
                Ok::<_, PackedError>((small, large, many, maybe))
            };
            for cut in 0..bytes.len() {
                prop_assert!(read(&bytes[..cut]).is_err());
            }
            prop_assert_eq!(read(&bytes), Ok((small, large, many, maybe)));
        }
    }
}
