//! Frames of tests, made here: the published example, and configurations and data of any shape.
//! Must not be used outside of tests.

use super::frame::{FrameKind, encode};
use super::stamp::Stamp;

/// A data frame that has been printed often: one PMU, four rectangular integer phasors, three
/// floating-point analogs, one word.
pub(crate) const ANNEX_D: [u8; 52] = [
    0xaa, 0x01, 0x00, 0x34, 0x1e, 0x36, 0x44, 0x85, 0x36, 0x00, 0x00, 0x00, 0x41, 0xb1, 0x00, 0x00,
    0x39, 0x2b, 0x00, 0x00, 0xe3, 0x6a, 0xce, 0x7c, 0xe3, 0x6a, 0x31, 0x83, 0x04, 0x44, 0x00, 0x00,
    0x09, 0xc4, 0x00, 0x00, 0x42, 0xc8, 0x00, 0x00, 0x44, 0x7a, 0x00, 0x00, 0x46, 0x1c, 0x40, 0x00,
    0x3c, 0x12, 0xd4, 0x3f,
];

/// 2026-01-01, in Unix seconds.
pub(crate) const SOC: u32 = 1_767_225_600;

/// A frame of the IDCODE at an instant, in microseconds after [`SOC`].
pub(crate) fn frame(kind: FrameKind, id: u16, micros: u32, body: &[u8]) -> Vec<u8> {
    let stamp = Stamp { soc: SOC + micros / 1_000_000, quality: 0, fracsec: micros % 1_000_000 };
    let version = if kind.nibble() >= 8 { 3 } else { 1 };
    encode(kind, version, id, stamp, body).expect("short enough")
}

/// CFG-2 of IDCODE 1001: eight polar floating-point phasors and one word, 60 frames a second.
pub(crate) fn config2() -> Vec<u8> {
    let mut body =
        [0x000F_4240u32.to_be_bytes().to_vec(), vec![0, 1], padded("SIM-SUB-0001")].concat();
    for word in [1001u16, 0x000F, 8, 0, 1] {
        body.extend(word.to_be_bytes());
    }
    for name in ["VA", "VB", "VC", "V1", "IA", "IB", "IC", "I1"] {
        body.extend(padded(name));
    }
    (0..16).for_each(|bit| body.extend(padded(&format!("DIG{bit:02}"))));
    (0..4).for_each(|_| body.extend(0x0001_86A0u32.to_be_bytes()));
    (0..4).for_each(|_| body.extend(0x0101_86A0u32.to_be_bytes()));
    for word in [0u16, 0xFFFF, 0, 1, 60] {
        body.extend(word.to_be_bytes());
    }
    frame(FrameKind::Config2, 1001, 0, &body)
}

/// Data of [`config2`]: 79,674.34 V and 500 A at 0, -120, 120 and 0 degrees, 59.98 Hz.
pub(crate) fn data(micros: u32, stat: u16) -> Vec<u8> {
    let third = std::f32::consts::TAU / 3.0;
    let mut body = stat.to_be_bytes().to_vec();
    for magnitude in [79_674.34f32, 500.0] {
        for angle in [0.0, -third, third, 0.0] {
            body.extend(magnitude.to_be_bytes());
            body.extend(angle.to_be_bytes());
        }
    }
    body.extend(59.98f32.to_be_bytes());
    body.extend((-0.01f32).to_be_bytes());
    body.extend([0, 1]);
    frame(FrameKind::Data, 1001, micros, &body)
}

/// How many phasors, analogs and words a PMU has.
pub(crate) type Counts = (u16, u16, u16);

/// The body of a CFG-2 of PMUs by IDCODE, FORMAT and counts. Half of the phasors are currents.
pub(crate) fn config2_body(stations: &[(u16, u16, Counts)], time_base: u32) -> Vec<u8> {
    let mut body = time_base.to_be_bytes().to_vec();
    body.extend((stations.len() as u16).to_be_bytes());
    for &(id, format, (phasors, analogs, words)) in stations {
        body.extend(padded(&format!("STATION {id}")));
        for word in [id, format, phasors, analogs, words] {
            body.extend(word.to_be_bytes());
        }
        (0..phasors).for_each(|n| body.extend(padded(&format!("PH{n}"))));
        (0..analogs).for_each(|n| body.extend(padded(&format!("AN{n}"))));
        (0..16 * words).for_each(|n| body.extend(padded(&format!("D{n}"))));
        for n in 0..phasors {
            let sort = u32::from(n >= phasors.div_ceil(2)) << 24;
            // Ten volts, or amperes, a count.
            body.extend((sort | 1_000_000).to_be_bytes());
        }
        (0..analogs).for_each(|_| body.extend(0x01FF_FFFEu32.to_be_bytes()));
        (0..words).for_each(|_| body.extend([0x00, 0x01, 0x00, 0x0F]));
        body.extend([0, 1, 0, 3]);
    }
    body.extend(50i16.to_be_bytes());
    body
}

/// What follows the number of the fragment in a CFG-3: one voltage, one analog, one word.
pub(crate) fn config3_body() -> Vec<u8> {
    let mut body = 1_000_000u32.to_be_bytes().to_vec();
    body.extend([0, 1]);
    body.extend(counted("Umspannwerk S\u{fc}d, Feld 1"));
    body.extend([0, 5]);
    body.extend([7; 16]);
    body.extend([0, 0, 0, 1, 0, 1, 0, 1]);
    body.extend(counted("Leiter 1 gegen Erde"));
    body.extend(counted("Temperatur"));
    (0..16).for_each(|bit| body.extend(counted(&format!("Schalter {bit}"))));
    body.extend([0, 0, 0b1000, 0]);
    body.extend([2.5f32.to_be_bytes(), 0.5f32.to_be_bytes()].concat());
    body.extend([0.1f32.to_be_bytes(), (-40f32).to_be_bytes()].concat());
    body.extend([0, 0, 0xFF, 0xFF]);
    (0..3).for_each(|_| body.extend(f32::INFINITY.to_be_bytes()));
    body.extend(b"P");
    body.extend([0; 8]);
    body.extend([0, 1, 0, 9]);
    body.extend(25i16.to_be_bytes());
    body
}

/// A configuration of the edition of 2024 with a voltage, a current, a frequency and its rate, by
/// the number of the fragment and FORMAT.
pub(crate) fn config2024_body((fragment, format): (u16, u16)) -> Vec<u8> {
    let mut body = fragment.to_be_bytes().to_vec();
    body.extend(1_000_000u32.to_be_bytes());
    body.extend(counted("PDC"));
    body.extend([0, 1]);
    body.extend(counted("PMU"));
    body.extend([0, 7, 0, 3]);
    body.extend([9; 16]);
    for word in [format, 2, 0, 1, 1, 0] {
        body.extend(word.to_be_bytes());
    }
    ["UA", "IA", "F", "DF"].iter().for_each(|name| body.extend(counted(name)));
    for (sort, scale) in [(0b0100, 10f32), (0b1100, 1.0)] {
        body.extend([0, 0, sort, 0]);
        [scale, 0.0, 400_000.0].iter().for_each(|number| body.extend(number.to_be_bytes()));
    }
    [0.001f32, 0.0, 0.01, 0.0].iter().for_each(|number| body.extend(number.to_be_bytes()));
    (0..3).for_each(|_| body.extend(f32::INFINITY.to_be_bytes()));
    body.extend([0xA0, 0]);
    body.extend([0xFF; 8]);
    body.extend([0, 50, 0, 0]);
    body.extend([0, 50, 0, 0]);
    body
}

fn padded(name: &str) -> Vec<u8> {
    format!("{name:<16}").into_bytes()
}

fn counted(name: &str) -> Vec<u8> {
    [&[name.len() as u8], name.as_bytes()].concat()
}
