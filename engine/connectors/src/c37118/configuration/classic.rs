//! CFG-1 and CFG-2: names of 16 bytes, and a conversion factor for each channel. Must not know
//! where the frame came from.

use super::channels::{Channels, Notation, list};
use super::station::{AnalogChannel, PhasorChannel, Read, Station, Unit, nominal_hz};
use crate::c37118::fields::Fields;

const NOTATION: Notation = Notation { name: |fields| fields.padded_name(), phasor, analog };

pub(super) fn read(fields: &mut Fields<'_>) -> Option<Read> {
    let time_base = fields.u32()? & 0x00FF_FFFF;
    let count = fields.u16()?;
    let stations = list(fields, count, station)?;
    Some((time_base, stations, fields.i16()?))
}

fn station(fields: &mut Fields<'_>) -> Option<Station> {
    let named = (fields.padded_name()?, fields.u16()?);
    let channels = Channels::read(fields, &NOTATION)?;
    let nominal_hz = nominal_hz(fields.u16()?);
    Some(channels.station(named, nominal_hz, fields.u16()?))
}

fn phasor(fields: &mut Fields<'_>, name: Box<str>) -> Option<PhasorChannel> {
    let word = fields.u32()?;
    // Hundred-thousandths of a volt or ampere for each count.
    let scale = f64::from(word & 0x00FF_FFFF) * 1e-5;
    Some(PhasorChannel { name, unit: Unit::of_current(word >> 24 == 1), scale, angle_offset: 0.0 })
}

fn analog(fields: &mut Fields<'_>, name: Box<str>) -> Option<AnalogChannel> {
    let word = fields.u32()?;
    let sort = match word >> 24 {
        0 => Some("point on wave"),
        1 => Some("rms"),
        2 => Some("peak"),
        _ => None,
    };
    // The lower 24 bits are signed. Devices that do not scale say 0, which is no factor.
    let factor = (word << 8).cast_signed() >> 8;
    let scale = if factor == 0 { 1.0 } else { f64::from(factor) };
    Some(AnalogChannel { name, sort, scale, offset: 0.0 })
}
