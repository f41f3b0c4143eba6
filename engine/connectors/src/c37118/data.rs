//! Data frames: the measurements of each PMU, in physical units. Must not know how they are
//! published.

use super::bad_input::BadInput;
use super::configuration::Configuration;
use super::configuration::station::{AnalogChannel, PhasorChannel, Station};
use super::fields::Fields;
use super::frame::Frame;
use super::stat::Stat;

/// What one PMU measured at one instant. What is absent is not a number.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Measurement {
    /// What it says of itself.
    pub stat: Stat,
    /// Its phasors, in the order of the configuration.
    pub phasors: Vec<Phasor>,
    /// Frequency, Hz.
    pub frequency_hz: f32,
    /// Rate of change of frequency, Hz/s.
    pub rocof_hz_per_s: f32,
    /// Its analog values.
    pub analogs: Vec<f32>,
    /// Its words of status bits.
    pub digitals: Vec<u16>,
}

/// A phasor.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Phasor {
    /// In volts or amperes.
    pub magnitude: f32,
    /// In degrees, above -180 and up to 180.
    pub angle_deg: f32,
}

/// The PMUs of a data frame, each with the bytes of its data.
///
/// # Errors
/// [`BadInput::Mismatch`] where the frame has another length than the configuration says, and
/// [`BadInput::Time`] where its fraction of a second is none.
pub fn blocks<'a>(
    configuration: &'a Configuration,
    frame: &Frame<'a>,
) -> Result<impl Iterator<Item = (&'a Station, &'a [u8])>, BadInput> {
    if frame.bytes.len() != configuration.data_bytes {
        return Err(BadInput::Mismatch);
    }
    if frame.stamp.fracsec >= configuration.time_base {
        return Err(BadInput::Time);
    }
    let mut fields = Fields::new(frame.body());
    let stations = configuration.stations.iter();
    Ok(stations.map_while(move |station| Some((station, fields.take(station.block_bytes())?))))
}

/// Whether a PMU of a data frame says that the configuration is about to change. A frame that does
/// not fit says nothing.
#[must_use]
pub fn announces_configuration(configuration: &Configuration, frame: &Frame<'_>) -> bool {
    blocks(configuration, frame).is_ok_and(|mut blocks| {
        blocks.any(|(_, block)| stat(block).is_some_and(Stat::announces_configuration))
    })
}

fn stat(block: &[u8]) -> Option<Stat> {
    Fields::new(block).u16().map(Stat)
}

impl Measurement {
    /// Reads the data of a PMU, whose length [`blocks`] has seen to. What was read before is
    /// overwritten, so that one measurement serves many frames.
    ///
    /// # Errors
    /// [`BadInput::Mismatch`] where the block is shorter than the PMU's data.
    pub fn read(&mut self, station: &Station, block: &[u8]) -> Result<(), BadInput> {
        self.phasors.clear();
        self.analogs.clear();
        self.digitals.clear();
        self.fill(station, &mut Fields::new(block)).ok_or(BadInput::Mismatch)
    }

    fn fill(&mut self, station: &Station, fields: &mut Fields<'_>) -> Option<()> {
        self.stat = Stat(fields.u16()?);
        if station.edition2024.is_some() {
            let _time_quality = fields.u16()?;
        }
        for channel in &station.phasors {
            self.phasors.push(phasor(station, channel, fields)?);
        }
        self.fill_frequency(station, fields)?;
        for channel in &station.analogs {
            self.analogs.push(analog(station, channel, fields)?);
        }
        for _ in &station.digitals {
            self.digitals.push(fields.u16()?);
        }
        Some(())
    }

    /// The first frequency, and the first rate of change; any others are passed over.
    fn fill_frequency(&mut self, station: &Station, fields: &mut Fields<'_>) -> Option<()> {
        let (frequencies, rocofs) = station.frequency_counts();
        let bytes = station.format.frequency_bytes();
        let mut frequency = Fields::new(fields.take(frequencies * bytes)?);
        let mut rocof = Fields::new(fields.take(rocofs * bytes)?);
        let nominal_hz = f64::from(station.nominal_hz);
        let (per_count, rocof_per_count) = match station.edition2024 {
            None => ((1e-3, 0.0), (1e-2, 0.0)),
            Some(own) => (wide(own.frequency), wide(own.rocof)),
        };
        let is_float = station.format.has_float_frequency();
        self.frequency_hz = match (frequencies, is_float) {
            (0, _) => f32::NAN,
            (_, true) => frequency.f32()?,
            (_, false) => scaled(frequency.i16()?, (per_count.0, per_count.1 + nominal_hz)),
        };
        self.rocof_hz_per_s = match (rocofs, is_float) {
            (0, _) => f32::NAN,
            (_, true) => rocof.f32()?,
            (_, false) => scaled(rocof.i16()?, rocof_per_count),
        };
        Some(())
    }
}

fn wide((scale, offset): (f32, f32)) -> (f64, f64) {
    (f64::from(scale), f64::from(offset))
}

/// What integers stand for that were not measured.
const ABSENT: i16 = i16::MIN;

fn scaled(count: i16, (scale, offset): (f64, f64)) -> f32 {
    if count == ABSENT { f32::NAN } else { (f64::from(count) * scale + offset) as f32 }
}

fn analog(station: &Station, channel: &AnalogChannel, fields: &mut Fields<'_>) -> Option<f32> {
    if station.format.has_float_analogs() {
        return fields.f32();
    }
    Some(scaled(fields.i16()?, (channel.scale, channel.offset)))
}

fn phasor(station: &Station, channel: &PhasorChannel, fields: &mut Fields<'_>) -> Option<Phasor> {
    let (first, second) = if station.format.has_float_phasors() {
        (f64::from(fields.f32()?), f64::from(fields.f32()?))
    } else {
        integers(station, channel, (fields.u16()?, fields.i16()?))
    };
    let (magnitude, radians) = if station.format.is_polar() {
        (first, second)
    } else {
        (first.hypot(second), second.atan2(first))
    };
    let radians = if station.format.has_float_phasors() {
        radians
    } else {
        radians - f64::from(channel.angle_offset)
    };
    Some(Phasor { magnitude: magnitude as f32, angle_deg: degrees(radians) })
}

/// The two numbers of a phasor that is written as integers: scaled parts, or a scaled magnitude
/// and an angle in rad.
fn integers(station: &Station, channel: &PhasorChannel, parts: (u16, i16)) -> (f64, f64) {
    let (first, second) = (parts.0.cast_signed(), parts.1);
    if second == ABSENT {
        return (f64::NAN, f64::NAN);
    }
    if station.format.is_polar() {
        (f64::from(parts.0) * channel.scale, f64::from(second) * 1e-4)
    } else if first == ABSENT {
        (f64::NAN, f64::NAN)
    } else {
        (f64::from(first) * channel.scale, f64::from(second) * channel.scale)
    }
}

/// An angle in degrees, brought between -180 and 180. Rounded to what an `f32` can tell apart.
fn degrees(radians: f64) -> f32 {
    let degrees = radians.to_degrees();
    let turned = if degrees.abs() <= 180.0 { degrees } else { degrees.rem_euclid(360.0) };
    (if turned > 180.0 { turned - 360.0 } else { turned }) as f32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::c37118::frame::{First, FrameKind};
    use crate::c37118::samples;
    use proptest::prelude::*;

    fn whole(bytes: &[u8]) -> Frame<'_> {
        let First::Whole(frame) = Frame::first(bytes) else { panic!("not whole") };
        frame
    }

    fn configuration(stations: &[(u16, u16, samples::Counts)]) -> Configuration {
        let body = samples::config2_body(stations, 1_000_000);
        Configuration::of_body(FrameKind::Config2, 1, &body).unwrap()
    }

    fn read(configuration: &Configuration, body: &[u8]) -> Vec<Measurement> {
        let bytes = samples::frame(FrameKind::Data, 1, 0, body);
        let read = |(station, block)| {
            let mut measurement = Measurement::default();
            measurement.read(station, block).unwrap();
            measurement
        };
        blocks(configuration, &whole(&bytes)).unwrap().map(read).collect()
    }

    fn close(a: f32, b: f32) -> bool {
        (a - b).abs() <= b.abs() * 1e-6 + 1e-4
    }

    #[test]
    fn floating_point_values_are_taken_as_they_are() {
        let bytes = samples::config2();
        let configuration = Configuration::read(&whole(&bytes)).unwrap();
        let data = samples::data(16_667, 0x0804);
        let (station, block) = blocks(&configuration, &whole(&data)).unwrap().next().unwrap();
        let mut read = Measurement::default();
        read.read(station, block).unwrap();
        assert_eq!((read.stat, read.digitals.as_slice()), (Stat(0x0804), &[1][..]));
        assert!(close(read.phasors[1].magnitude, 79_674.34));
        assert!(
            close(read.phasors[1].angle_deg, -120.0) && close(read.phasors[2].angle_deg, 120.0)
        );
        assert!(close(read.frequency_hz, 59.98) && close(read.rocof_hz_per_s, -0.01));
    }

    #[test]
    fn integers_are_scaled() {
        // Rectangular: (3, 4) counts of 10 V, 12 mHz below 50 Hz, 0.03 Hz/s, -2 an analog count.
        let body = [0, 0, 0, 3, 0, 4, 0xFF, 0xF4, 0, 3, 0, 5, 0, 9];
        let read = &read(&configuration(&[(1, 0, (1, 1, 1))]), &body)[0];
        assert!(close(read.phasors[0].magnitude, 50.0));
        assert!(close(read.phasors[0].angle_deg, 53.130_1));
        assert!(close(read.frequency_hz, 49.988) && close(read.rocof_hz_per_s, 0.03));
        assert!(close(read.analogs[0], -10.0));
        assert_eq!(read.digitals, [9]);
    }

    #[test]
    fn a_polar_magnitude_has_no_sign() {
        let body = [0, 0, 0xFF, 0xFF, 0x7A, 0xB7, 0, 0, 0, 0];
        let read = &read(&configuration(&[(1, 1, (1, 0, 0))]), &body)[0];
        assert!(close(read.phasors[0].magnitude, 655_350.0));
        assert!(close(read.phasors[0].angle_deg, 179.994_7), "{:?}", read.phasors);
    }

    #[test]
    fn what_is_absent_is_no_number() {
        let body = [0x80, 0, 0, 0, 0x80, 0, 0x80, 0, 0x80, 0];
        let read = &read(&configuration(&[(1, 1, (1, 0, 0))]), &body)[0];
        assert!(read.stat.is_test_or_absent());
        assert!(read.phasors[0].magnitude.is_nan() && read.phasors[0].angle_deg.is_nan());
        assert!(read.frequency_hz.is_nan() && read.rocof_hz_per_s.is_nan());
    }

    #[test]
    fn each_pmu_of_a_stream_has_its_own_format() {
        let configuration = configuration(&[(7, 0, (0, 0, 1)), (8, 8, (0, 0, 0))]);
        let body = [&[0, 1, 0, 0, 0, 0, 0, 5, 0, 2][..], &60f32.to_be_bytes(), &[0; 4]].concat();
        let read = read(&configuration, &body);
        assert_eq!((read[0].stat, read[1].stat), (Stat(1), Stat(2)));
        assert!(close(read[0].frequency_hz, 50.0) && close(read[1].frequency_hz, 60.0));
    }

    #[test]
    fn data_of_2024_has_a_time_quality_and_scales_of_its_own() {
        let body = samples::config2024_body((0, 1));
        let configuration = Configuration::of_body(FrameKind::Config2024, 7, &body).unwrap();
        let body = [0, 0, 0x7F, 0xFF, 0, 3, 0, 0, 0, 5, 0, 0, 0, 20, 0, 7];
        let bytes = samples::frame(FrameKind::Data2024, 7, 0, &body);
        let (station, block) = blocks(&configuration, &whole(&bytes)).unwrap().next().unwrap();
        let mut read = Measurement::default();
        read.read(station, block).unwrap();
        assert!(close(read.phasors[0].magnitude, 30.0) && close(read.phasors[1].magnitude, 5.0));
        assert!(close(read.frequency_hz, 50.02) && close(read.rocof_hz_per_s, 0.07));
    }

    #[test]
    fn a_frame_that_does_not_fit_is_told() {
        let configuration = configuration(&[(1, 0, (1, 0, 0))]);
        let bytes = samples::frame(FrameKind::Data, 1, 0, &[0; 11]);
        assert_eq!(blocks(&configuration, &whole(&bytes)).err(), Some(BadInput::Mismatch));
        let late = Configuration { time_base: 10, ..configuration };
        let bytes = samples::frame(FrameKind::Data, 1, 10, &[0; 10]);
        assert_eq!(blocks(&late, &whole(&bytes)).err(), Some(BadInput::Time));
        let bytes = samples::frame(FrameKind::Data, 1, 9, &[4, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert!(announces_configuration(&late, &whole(&bytes)));
    }

    proptest! {
        #[test]
        fn angles_stay_within_a_turn(radians in -1e6f64..1e6) {
            let degrees = degrees(radians);
            prop_assert!((-180.0..=180.0).contains(&degrees), "{degrees}");
            let (sine, cosine) = f64::from(degrees).to_radians().sin_cos();
            prop_assert!((sine - radians.sin()).abs() < 1e-5);
            prop_assert!((cosine - radians.cos()).abs() < 1e-5);
        }

        #[test]
        fn whatever_fits_is_read_whole(
            stations in prop::collection::vec(
                (1u16.., 0u16..16, (0u16..4, 0u16..4, 0u16..3)), 1..5,
            ),
            seed in any::<u8>(),
        ) {
            let configuration = configuration(&stations);
            let bytes = configuration.data_bytes - 16;
            let body: Vec<u8> = (0..bytes).map(|n| n as u8 ^ seed).collect();
            let read = read(&configuration, &body);
            prop_assert_eq!(read.len(), stations.len());
            for (measurement, (_, _, (phasors, analogs, words))) in read.iter().zip(&stations) {
                prop_assert_eq!(measurement.phasors.len(), usize::from(*phasors));
                prop_assert_eq!(measurement.analogs.len(), usize::from(*analogs));
                prop_assert_eq!(measurement.digitals.len(), usize::from(*words));
            }
        }
    }
}
