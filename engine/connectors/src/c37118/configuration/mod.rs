//! A configuration: which PMUs a stream has, and how their data is laid out. Owns what all kinds
//! of configuration frame say; each kind has a file of its own. Must not read data.

mod channels;
mod classic;
mod edition2024;
mod extended;
pub mod station;

use crate::c37118::bad_input::BadInput;
use crate::c37118::fields::Fields;
use crate::c37118::frame::{FRAME_BYTES_MAX, FRAME_BYTES_MIN, Frame, FrameKind};

use station::Station;

/// What a stream sends.
#[derive(Clone, Debug, PartialEq)]
pub struct Configuration {
    /// IDCODE of the stream.
    pub id: u16,
    /// Units of FRACSEC in a second.
    pub time_base: u32,
    /// Frames a second where positive, seconds a frame where negative.
    pub data_rate: i16,
    /// Its PMUs, in the order of their data.
    pub stations: Vec<Station>,
    /// Bytes of a whole data frame.
    pub data_bytes: usize,
}

impl Configuration {
    /// Reads a configuration frame. The parts of a CFG-3 in several frames are put together first,
    /// by `Fragments`.
    ///
    /// # Errors
    /// Other frames, and configurations that contradict themselves. Nothing is kept of them, and
    /// what is allocated meanwhile is in proportion to the bytes of the frame.
    pub fn read(frame: &Frame<'_>) -> Result<Self, BadInput> {
        Self::of_body(frame.kind, frame.id, frame.body())
    }

    /// Reads the body of a configuration, whole.
    pub(crate) fn of_body(kind: FrameKind, id: u16, body: &[u8]) -> Result<Self, BadInput> {
        let mut fields = Fields::new(body);
        let read = match kind {
            FrameKind::Config1 | FrameKind::Config2 => classic::read(&mut fields),
            FrameKind::Config3 => extended::read(&mut fields),
            FrameKind::Config2024 | FrameKind::Capability2024 => edition2024::read(&mut fields)?,
            _ => return Err(BadInput::Unexpected),
        };
        let (time_base, stations, data_rate) = read.ok_or(BadInput::Configuration)?;
        let blocks: usize = stations.iter().map(Station::block_bytes).sum();
        let data_bytes = FRAME_BYTES_MIN + blocks;
        let is_whole = fields.rest().is_empty() && !stations.is_empty();
        if !is_whole || time_base == 0 || data_bytes > FRAME_BYTES_MAX {
            return Err(BadInput::Configuration);
        }
        Ok(Self { id, time_base, data_rate, stations, data_bytes })
    }
}

#[cfg(test)]
mod tests {
    use super::station::{DigitalWord, Unit};
    use super::*;
    use crate::c37118::frame::First;
    use crate::c37118::samples;
    use proptest::prelude::*;

    fn read(bytes: &[u8]) -> Result<Configuration, BadInput> {
        let First::Whole(frame) = Frame::first(bytes) else { panic!("not whole") };
        Configuration::read(&frame)
    }

    #[test]
    fn a_second_configuration_is_read() {
        let configuration = read(&samples::config2()).unwrap();
        assert_eq!((configuration.id, configuration.time_base), (1001, 1_000_000));
        assert_eq!((configuration.data_rate, configuration.data_bytes), (60, 92));
        let station = &configuration.stations[0];
        assert_eq!((&*station.name, station.id, station.nominal_hz), ("SIM-SUB-0001", 1001, 60));
        let names: Vec<_> = station.phasors.iter().map(|phasor| &*phasor.name).collect();
        assert_eq!(names, ["VA", "VB", "VC", "V1", "IA", "IB", "IC", "I1"]);
        assert_eq!((station.phasors[3].unit, station.phasors[4].unit), (Unit::Volt, Unit::Ampere));
        assert!((station.phasors[0].scale - 1.0).abs() < 1e-9);
        assert_eq!(&*station.digitals[0].names[15], "DIG15");
        assert_eq!((station.digitals[0].normal, station.digitals[0].valid), (0, 0xFFFF));
    }

    #[test]
    fn the_size_of_data_is_that_of_the_standards_table() {
        // Phasors, analogs, words; which are floats; what a frame of one PMU has then.
        for (counts, format, bytes) in [
            ((2, 0, 0), 0b0000, 30),
            ((2, 0, 0), 0b1111, 42),
            ((12, 0, 0), 0b0000, 70),
            ((12, 2, 2), 0b0000, 78),
            ((8, 0, 1), 0b1011, 92),
        ] {
            let body = samples::config2_body(&[(1, format, counts)], 1_000_000);
            let config = Configuration::of_body(FrameKind::Config2, 1, &body).unwrap();
            assert_eq!(config.data_bytes, bytes, "{counts:?} {format:b}");
        }
    }

    #[test]
    fn what_contradicts_itself_is_refused() {
        let good = samples::config2_body(&[(1, 0, (2, 1, 1))], 1_000_000);
        let refused = |body: &[u8]| {
            Configuration::of_body(FrameKind::Config2, 1, body) == Err(BadInput::Configuration)
        };
        assert!(!refused(&good));
        assert!(refused(&good[..good.len() - 1]), "cut off");
        assert!(refused(&[&good[..], &[0]].concat()), "something behind");
        assert!(refused(&samples::config2_body(&[(1, 0, (2, 1, 1))], 0)), "no time base");
        assert!(refused(&samples::config2_body(&[], 1)), "no PMU");
        let mut many = good.clone();
        many[4..6].copy_from_slice(&[0xFF, 0xFF]);
        assert!(refused(&many), "more PMUs than it has room for");
    }

    #[test]
    fn bits_without_a_name_of_their_own_are_numbered() {
        let names = ["", "A", "A", ""].map(Box::from).to_vec();
        let word = DigitalWord::new(names, 0, 0xF);
        let names: Vec<_> = word.names.iter().map(|name| &**name).collect();
        assert_eq!(names, ["bit 0", "A", "bit 2", "bit 3"]);
    }

    proptest! {
        #[test]
        fn no_body_makes_it_panic_or_allocate_beyond_its_bytes(
            body in prop::collection::vec(prop_oneof![Just(0u8), Just(1), any::<u8>()], 0..600),
        ) {
            for kind in FrameKind::ALL {
                if let Ok(configuration) = Configuration::of_body(kind, 1, &body) {
                    let stations = configuration.stations.len();
                    prop_assert!(stations * 30 <= body.len(), "{stations} of {}", body.len());
                }
            }
        }
    }
}
