//! CFG-3 (edition of 2011): names of any length, and a scale and an offset for each channel. Must
//! not know that it may have come in several frames.

use super::channels::{Channels, Notation, list};
use super::station::{AnalogChannel, PhasorChannel, Read, Station, Unit, nominal_hz};
use crate::c37118::fields::Fields;

/// Bytes of the global identifier of a PMU, which nothing here needs.
pub(super) const GLOBAL_ID_BYTES: usize = 16;
/// Latitude, longitude and elevation.
pub(super) const PLACE_BYTES: usize = 12;
/// Class of service, window and group delay.
const SERVICE_BYTES: usize = 9;

const NOTATION: Notation = Notation { name: |fields| fields.counted_name(), phasor, analog };

/// Reads what follows the number of the fragment.
pub(super) fn read(fields: &mut Fields<'_>) -> Option<Read> {
    let time_base = fields.u32()? & 0x00FF_FFFF;
    let count = fields.u16()?;
    let stations = list(fields, count, station)?;
    Some((time_base, stations, fields.i16()?))
}

fn station(fields: &mut Fields<'_>) -> Option<Station> {
    let named = (fields.counted_name()?, fields.u16()?);
    fields.take(GLOBAL_ID_BYTES)?;
    let channels = Channels::read(fields, &NOTATION)?;
    fields.take(PLACE_BYTES + SERVICE_BYTES)?;
    let nominal_hz = nominal_hz(fields.u16()?);
    Some(channels.station(named, nominal_hz, fields.u16()?))
}

fn phasor(fields: &mut Fields<'_>, name: Box<str>) -> Option<PhasorChannel> {
    let unit = phasor_unit(fields)?;
    let scale = f64::from(fields.f32()?);
    let angle_offset = fields.f32()?;
    Some(PhasorChannel { name, unit, scale, angle_offset })
}

/// The word before the scale: how the phasor was made, what it is of, and what a user says of it.
pub(super) fn phasor_unit(fields: &mut Fields<'_>) -> Option<Unit> {
    let (_modification, sort, _user) = (fields.u16()?, fields.u8()?, fields.u8()?);
    Some(Unit::of_current(sort & 0b1000 != 0))
}

fn analog(fields: &mut Fields<'_>, name: Box<str>) -> Option<AnalogChannel> {
    let (scale, offset) = (f64::from(fields.f32()?), f64::from(fields.f32()?));
    Some(AnalogChannel { name, sort: None, scale, offset })
}
