//! The channels of a PMU: counts, names, and then a scale for each. CFG-2 and CFG-3 have them in
//! the same order and write them differently. Must not know what is around them.

use super::station::{AnalogChannel, DigitalWord, Format, PhasorChannel, Station};
use crate::c37118::fields::Fields;

/// How a kind of configuration writes names and scales.
pub(super) struct Notation {
    pub(super) name: fn(&mut Fields<'_>) -> Option<Box<str>>,
    pub(super) phasor: fn(&mut Fields<'_>, Box<str>) -> Option<PhasorChannel>,
    pub(super) analog: fn(&mut Fields<'_>, Box<str>) -> Option<AnalogChannel>,
}

/// What is between the FORMAT word and FNOM.
pub(super) struct Channels {
    pub(super) format: Format,
    pub(super) phasors: Vec<PhasorChannel>,
    pub(super) analogs: Vec<AnalogChannel>,
    pub(super) digitals: Vec<DigitalWord>,
}

impl Channels {
    pub(super) fn read(fields: &mut Fields<'_>, notation: &Notation) -> Option<Self> {
        let format = Format(fields.u16()?);
        let (phasors, analogs, words) = (fields.u16()?, fields.u16()?, fields.u16()?);
        let phasor_names = list(fields, phasors, notation.name)?;
        let analog_names = list(fields, analogs, notation.name)?;
        let bit_names = list(fields, words, |fields| list(fields, 16, notation.name))?;
        Some(Self {
            format,
            phasors: each(fields, phasor_names, notation.phasor)?,
            analogs: each(fields, analog_names, notation.analog)?,
            digitals: each(fields, bit_names, word)?,
        })
    }

    /// The PMU that has them.
    pub(super) fn station(
        self,
        (name, id): (Box<str>, u16),
        nominal_hz: u8,
        changes: u16,
    ) -> Station {
        let Self { format, phasors, analogs, digitals } = self;
        let edition2024 = None;
        Station { name, id, format, phasors, analogs, digitals, nominal_hz, changes, edition2024 }
    }
}

/// So many of something. The list grows as they are read, never by what a count claims.
pub(super) fn list<T>(
    fields: &mut Fields<'_>,
    count: u16,
    mut read: impl FnMut(&mut Fields<'_>) -> Option<T>,
) -> Option<Vec<T>> {
    (0..count).map(|_| read(fields)).collect()
}

/// What follows for each of the names.
pub(super) fn each<N, T>(
    fields: &mut Fields<'_>,
    names: Vec<N>,
    read: fn(&mut Fields<'_>, N) -> Option<T>,
) -> Option<Vec<T>> {
    names.into_iter().map(|name| read(fields, name)).collect()
}

fn word(fields: &mut Fields<'_>, names: Vec<Box<str>>) -> Option<DigitalWord> {
    let (normal, valid) = (fields.u16()?, fields.u16()?);
    Some(DigitalWord::new(names, normal, valid))
}
