//! Frames that made-up devices send: PMUs with so many rectangular integer phasors and nothing
//! else, of one volt a count. Must not be clever.

use gridcast_connectors::c37118::frame::{FrameKind, encode};
use gridcast_connectors::c37118::stamp::Stamp;

/// 2026-01-01, in Unix seconds.
pub const SOC: u32 = 1_767_225_600;

/// Bit 10 of STAT: the configuration is about to change.
pub const ANNOUNCES: u16 = 1 << 10;

fn frame(kind: FrameKind, id: u16, ms: u32, body: &[u8]) -> Vec<u8> {
    let stamp = Stamp { soc: SOC + ms / 1000, quality: 0, fracsec: ms % 1000 * 1000 };
    encode(kind, 1, id, stamp, body).unwrap()
}

/// CFG-2 of a stream of PMUs, each with its IDCODE and so many phasors, 50 frames a second.
pub fn config2(id: u16, pmus: &[(u16, u16)]) -> Vec<u8> {
    let mut body =
        [1_000_000u32.to_be_bytes().to_vec(), (pmus.len() as u16).to_be_bytes().to_vec()].concat();
    for (pmu, phasors) in pmus {
        body.extend(format!("{:<16}", format!("PMU {pmu}")).bytes());
        for word in [*pmu, 0, *phasors, 0, 0] {
            body.extend(word.to_be_bytes());
        }
        (0..*phasors).for_each(|n| body.extend(format!("{:<16}", format!("V{n}")).bytes()));
        (0..*phasors).for_each(|_| body.extend(100_000u32.to_be_bytes()));
        body.extend([0, 1, 0, 0]);
    }
    body.extend(50i16.to_be_bytes());
    frame(FrameKind::Config2, id, 0, &body)
}

/// CFG-3 of a PMU without channels, in two frames.
pub fn config3_in_parts(id: u16) -> [Vec<u8>; 2] {
    let mut body = [&1_000_000u32.to_be_bytes()[..], &[0, 1], b"\x05PMU 7"].concat();
    body.extend(id.to_be_bytes());
    // Identifier, FORMAT, counts, place, service, nominal frequency and changes.
    body.extend([0; 16 + 2 + 6 + 12 + 9 + 4]);
    body.extend(50i16.to_be_bytes());
    let (first, last) = body.split_at(20);
    [(1u16, first), (0xFFFF, last)].map(|(number, part)| {
        frame(FrameKind::Config3, id, 0, &[&number.to_be_bytes()[..], part].concat())
    })
}

/// Data at so many milliseconds: STAT and phasors of each PMU; phasor n is n + 1 volts.
pub fn data(id: u16, ms: u32, pmus: &[(u16, u16)]) -> Vec<u8> {
    let mut body = Vec::new();
    for (stat, phasors) in pmus {
        body.extend(stat.to_be_bytes());
        (0..*phasors).for_each(|n| body.extend([(n + 1).to_be_bytes(), [0, 0]].concat()));
        // 12 mHz above 50 Hz, 0.03 Hz/s.
        body.extend([0, 12, 0, 3]);
    }
    frame(FrameKind::Data, id, ms, &body)
}

/// A header frame.
pub fn header(id: u16) -> Vec<u8> {
    frame(FrameKind::Header, id, 0, b"made up")
}
