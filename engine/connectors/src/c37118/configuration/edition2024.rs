//! The configuration frames of the edition of 2024, as far as one public implementation shows them:
//! phasors, frequencies and rates of change of frequency. What else that edition has is refused,
//! not guessed. Must not read data.

use super::channels::{each, list};
use super::extended::{GLOBAL_ID_BYTES, PLACE_BYTES, phasor_unit};
use super::station::{Edition2024, Format, PhasorChannel, Read, Station};
use crate::c37118::bad_input::BadInput;
use crate::c37118::fields::Fields;

/// Window and group delay.
const SERVICE_BYTES: usize = 8;
/// The bit of the flags that says that the nominal frequency is 50 Hz.
const FLAG_50_HZ: u16 = 1 << 13;
/// The bits of FORMAT whose meaning is known.
const FORMAT_KNOWN: u16 = 0x000F;

/// Reads a body of one fragment.
pub(super) fn read(fields: &mut Fields<'_>) -> Result<Option<Read>, BadInput> {
    if fields.u16().is_some_and(|fragment| fragment != 0) {
        return Err(BadInput::Unsupported);
    }
    let mut is_known = true;
    let read = read_whole(fields, &mut is_known);
    if is_known { Ok(read) } else { Err(BadInput::Unsupported) }
}

fn read_whole(fields: &mut Fields<'_>, is_known: &mut bool) -> Option<Read> {
    let time_base = fields.u32()? & 0x00FF_FFFF;
    let _concentrator = fields.counted_name()?;
    let count = fields.u16()?;
    let stations = list(fields, count, |fields| station(fields, is_known))?;
    let data_rate = fields.i16()?;
    let _changes = fields.u16()?;
    Some((time_base, stations, data_rate))
}

fn station(fields: &mut Fields<'_>, is_known: &mut bool) -> Option<Station> {
    let (name, id) = (fields.counted_name()?, fields.u16()?);
    let _version = fields.u16()?;
    fields.take(GLOBAL_ID_BYTES)?;
    let format = Format(fields.u16()?);
    let (phasors, analogs) = (fields.u16()?, fields.u16()?);
    let (frequencies, rocofs, words) = (fields.u16()?, fields.u16()?, fields.u16()?);
    if analogs > 0 || words > 0 || format.0 & !FORMAT_KNOWN != 0 {
        *is_known = false;
        return None;
    }
    let names = list(fields, phasors, |fields| fields.counted_name())?;
    list(fields, frequencies, |fields| fields.counted_name())?;
    list(fields, rocofs, |fields| fields.counted_name())?;
    let phasors = each(fields, names, phasor)?;
    let frequency = first_scale(fields, frequencies)?;
    let rocof = first_scale(fields, rocofs)?;
    fields.take(PLACE_BYTES)?;
    let flags = fields.u16()?;
    fields.take(SERVICE_BYTES)?;
    let _data_rate = fields.i16()?;
    let changes = fields.u16()?;
    Some(Station {
        name,
        id,
        format,
        phasors,
        analogs: Vec::new(),
        digitals: Vec::new(),
        nominal_hz: if flags & FLAG_50_HZ != 0 { 50 } else { 60 },
        changes,
        edition2024: Some(Edition2024 { frequencies, frequency, rocofs, rocof }),
    })
}

fn phasor(fields: &mut Fields<'_>, name: Box<str>) -> Option<PhasorChannel> {
    let unit = phasor_unit(fields)?;
    let scale = f64::from(fields.f32()?);
    let angle_offset = fields.f32()?;
    let _voltage_class = fields.f32()?;
    Some(PhasorChannel { name, unit, scale, angle_offset })
}

/// Scale and offset of the first of so many; those of the others are not needed.
fn first_scale(fields: &mut Fields<'_>, count: u16) -> Option<(f32, f32)> {
    let scales = list(fields, count, |fields| Some((fields.f32()?, fields.f32()?)))?;
    Some(scales.first().copied().unwrap_or((1.0, 0.0)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::c37118::configuration::Configuration;
    use crate::c37118::configuration::station::Unit;
    use crate::c37118::frame::FrameKind;
    use crate::c37118::samples;

    #[test]
    fn phasors_and_frequencies_are_read() {
        let body = samples::config2024_body((0, 1));
        let read = Configuration::of_body(FrameKind::Config2024, 7, &body).unwrap();
        let station = &read.stations[0];
        assert_eq!((&*station.name, station.id, station.nominal_hz), ("PMU", 7, 50));
        assert_eq!(station.phasors[0].unit, Unit::Volt);
        assert_eq!(station.phasors[1].unit, Unit::Ampere);
        assert_eq!(read.data_bytes, 16 + 4 + 2 * 4 + 2 + 2);
    }

    #[test]
    fn what_is_not_known_is_refused_as_such() {
        for (fragment, format) in [(1, 1), (0, 0x11)] {
            let body = samples::config2024_body((fragment, format));
            let read = Configuration::of_body(FrameKind::Config2024, 7, &body);
            assert_eq!(read, Err(BadInput::Unsupported), "{fragment} {format}");
        }
    }
}
