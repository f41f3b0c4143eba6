//! Payloads: the kinds, the encoding of JSON texts and stamped blocks, and the check that reads the
//! identity from received bytes. Must not read clocks, and must not know WebSocket or schedules.

use std::fmt;
use std::fmt::Write as _;
use std::str::FromStr;

use crc::{CRC_32_ISO_HDLC, Crc, Table};

use crate::codec::c37118;
use crate::codec::c37118::{Envelope, Kind, Measurement, TIME_BASE};
use crate::codec::claim::{Claim, Corrupt, When};

/// Smallest stamped block.
pub const FIXED_BYTES_MIN: usize = 48;

/// The largest payload of any form: a receiver may have to buffer this much for one message.
pub fn bytes_max(payload: Payload) -> usize {
    match payload {
        Payload::C37118 => c37118::DEFAULT_DATA_BYTES,
        Payload::Json | Payload::JsonVerbose => JSON_BYTES_MAX,
        Payload::Fixed { bytes } => (bytes as usize).max(FIXED_BYTES_MIN),
        // Room for the growth by an envelope.
        Payload::Recorded { bytes } => bytes as usize * 2,
    }
}

/// Checks a frame and reads its identity.
pub fn identify(bytes: &[u8]) -> Result<Claim, Corrupt> {
    match bytes.first() {
        Some(0xAA) => identify_c37118(bytes),
        Some(b'{') => identify_json(bytes),
        Some(&FIXED_FIRST) => identify_fixed(bytes),
        _ => Err(Corrupt),
    }
}

fn identify_c37118(bytes: &[u8]) -> Result<Claim, Corrupt> {
    match c37118::check(bytes) {
        Ok((Kind::Data, envelope)) => {
            let Envelope { id, soc, quality, fracsec } = envelope;
            Ok(Claim { id, when: When::Instant { soc, fracsec, quality } })
        }
        Ok((Kind::Config2, envelope)) => Ok(Claim { id: envelope.id, when: When::Configuration }),
        _ => Err(Corrupt),
    }
}

/// Appends the values of a tick to an open JSON object.
pub(crate) type WriteValues = fn(&Measurement, &mut String);

pub(crate) fn write_json(id: u16, values: &Measurement, write: WriteValues, text: &mut String) {
    text.clear();
    let micros = u64::from(values.soc) * u64::from(TIME_BASE) + u64::from(values.fracsec);
    // Writing to a String cannot fail.
    let _ = write!(text, "{{\"id\":{id},\"t\":{micros}");
    write(values, text);
    let sum = CHECKSUM.checksum(text.as_bytes());
    let _ = write!(text, "{JSON_SUM}{sum:08x}\"}}"); // as above
}

/// One-letter keys, as dashboards with many values use them.
pub(crate) fn write_short(values: &Measurement, text: &mut String) {
    let _ = write!(text, ",\"st\":{},\"ph\":[", values.stat); // as above
    for (index, (magnitude, angle)) in values.phasors.iter().enumerate() {
        let comma = if index == 0 { "" } else { "," };
        let _ = write!(text, "{comma}[{magnitude:.2},{angle:.5}]"); // as above
    }
    let (freq, dfreq, digital) = (values.freq_hz, values.dfreq_hz_per_s, values.digital);
    let _ = write!(text, "],\"f\":{freq:.4},\"df\":{dfreq:.3},\"dg\":[{digital}]"); // as above
}

/// Every value with its full name and unit.
pub(crate) fn write_verbose(values: &Measurement, text: &mut String) {
    let _ = write!(text, ",\"status\":{},\"phasors\":[", values.stat); // as above
    let named = PHASOR_NAMES.iter().zip(&values.phasors);
    for (index, ((name, unit), (magnitude, angle))) in named.enumerate() {
        let comma = if index == 0 { "" } else { "," };
        // As above.
        let _ = write!(text, "{comma}{{\"name\":\"{name}\",\"unit\":\"{unit}\"");
        let _ = write!(text, ",\"magnitude\":{magnitude:.2},\"angle_rad\":{angle:.5}}}");
    }
    let (freq, dfreq, digital) = (values.freq_hz, values.dfreq_hz_per_s, values.digital);
    let _ = write!(text, "],\"frequency_hz\":{freq:.4},\"rocof_hz_per_s\":{dfreq:.3}"); // as above
    let _ = write!(text, ",\"digital\":[{digital}]"); // as above
}

fn identify_json(bytes: &[u8]) -> Result<Claim, Corrupt> {
    let (covered, sum) = bytes.split_last_chunk::<JSON_SUM_BYTES>().ok_or(Corrupt)?;
    let hex = sum.strip_prefix(JSON_SUM.as_bytes()).and_then(|sum| sum.strip_suffix(b"\"}"));
    let hex = hex.and_then(|hex| std::str::from_utf8(hex).ok()).ok_or(Corrupt)?;
    // The publisher writes lower case only; another spelling means that the bytes were changed.
    let spelled = hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let sum = u32::from_str_radix(hex, 16).map_err(|_| Corrupt)?;
    if !spelled || CHECKSUM.checksum(covered) != sum {
        return Err(Corrupt);
    }
    let (id, rest) = number_after(covered, b"{\"id\":").ok_or(Corrupt)?;
    let (micros, _) = number_after(rest, b",\"t\":").ok_or(Corrupt)?;
    let base = u64::from(TIME_BASE);
    let soc = u32::try_from(micros / base).map_err(|_| Corrupt)?;
    let when = When::Instant { soc, fracsec: (micros % base) as u32, quality: 0 };
    Ok(Claim { id: u16::try_from(id).map_err(|_| Corrupt)?, when })
}

fn number_after<'b>(bytes: &'b [u8], name: &[u8]) -> Option<(u64, &'b [u8])> {
    let digits = bytes.strip_prefix(name)?;
    let end = digits.iter().position(|byte| !byte.is_ascii_digit())?;
    let (number, rest) = digits.split_at_checked(end)?;
    Some((std::str::from_utf8(number).ok()?.parse().ok()?, rest))
}

/// A stamped block: magic, run, publisher, size, seq, intended instant; filler; checksum.
pub(crate) fn fixed_block(run_id: u32, id: u16, bytes: usize) -> Vec<u8> {
    let size = bytes.max(FIXED_BYTES_MIN);
    let mut block: Vec<u8> = (0..size).map(|at| (at * 31 + usize::from(id)) as u8).collect();
    block[..4].copy_from_slice(&FIXED_MAGIC);
    block[4..8].copy_from_slice(&run_id.to_be_bytes());
    block[8..10].copy_from_slice(&id.to_be_bytes());
    block[10..12].copy_from_slice(&[0; 2]);
    block[12..16].copy_from_slice(&(size as u32).to_be_bytes());
    block
}

pub(crate) fn stamp_fixed(block: &mut [u8], seq: u32, intended_unix_ns: u64) {
    block[16..20].copy_from_slice(&seq.to_be_bytes());
    block[20..28].copy_from_slice(&intended_unix_ns.to_be_bytes());
    let covered = block.len() - 4;
    let sum = CHECKSUM.checksum(&block[..covered]);
    block[covered..].copy_from_slice(&sum.to_be_bytes());
}

fn identify_fixed(bytes: &[u8]) -> Result<Claim, Corrupt> {
    let (covered, sum) = bytes.split_last_chunk::<4>().ok_or(Corrupt)?;
    let (head, _) = covered.split_first_chunk::<28>().ok_or(Corrupt)?;
    let word = |at: usize| u32::from_be_bytes(std::array::from_fn(|i| head[at + i]));
    let whole = head.starts_with(&FIXED_MAGIC)
        && word(12) as usize == bytes.len()
        && CHECKSUM.checksum(covered) == u32::from_be_bytes(*sum);
    if !whole {
        return Err(Corrupt);
    }
    let intended_unix_ns = u64::from(word(20)) << 32 | u64::from(word(24));
    let when = When::Seq { run_id: word(4), seq: word(16), intended_unix_ns };
    Ok(Claim { id: u16::from_be_bytes([head[8], head[9]]), when })
}

pub(crate) const JSON_BYTES_MAX: usize = 1536;
/// Voltages and currents by phase, then their positive sequence, each with its unit.
const PHASOR_NAMES: [(&str, &str); 8] = [
    ("voltage_a", "volt"),
    ("voltage_b", "volt"),
    ("voltage_c", "volt"),
    ("voltage_1", "volt"),
    ("current_a", "ampere"),
    ("current_b", "ampere"),
    ("current_c", "ampere"),
    ("current_1", "ampere"),
];
const JSON_SUM: &str = ",\"ck\":\"";
const JSON_SUM_BYTES: usize = JSON_SUM.len() + 8 + 2;
const FIXED_FIRST: u8 = b'G';
const FIXED_MAGIC: [u8; 4] = [FIXED_FIRST, b'L', b'D', b'1'];
static CHECKSUM: Crc<u32, Table<16>> = Crc::<u32, Table<16>>::new(&CRC_32_ISO_HDLC);

/// The content of a publisher's frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Payload {
    /// A C37.118.2 data frame of 92 bytes.
    C37118,
    /// A short JSON object, about 240 bytes.
    Json,
    /// The same values with full names and units, about 750 bytes.
    JsonVerbose,
    /// A stamped block of exactly this many bytes.
    Fixed {
        /// Length of the payload, at least [`Payload::FIXED_BYTES_MIN`].
        bytes: u32,
    },
    /// Recorded C37.118 data frames.
    Recorded {
        /// Length of the longest frame.
        bytes: u32,
    },
}

impl Payload {
    /// The smallest size with room for the stamp.
    pub const FIXED_BYTES_MIN: u32 = 48;
    /// Engines refuse larger messages by default.
    pub const FIXED_BYTES_MAX: u32 = 1 << 20;

    /// Length in bytes; an estimate for JSON, exact otherwise.
    pub fn bytes(self) -> u64 {
        match self {
            Payload::C37118 => 92,
            Payload::Json => 240,
            Payload::JsonVerbose => 750,
            Payload::Fixed { bytes } | Payload::Recorded { bytes } => u64::from(bytes),
        }
    }
}

impl fmt::Display for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Payload::C37118 => f.write_str("c37118"),
            Payload::Json => f.write_str("json"),
            Payload::JsonVerbose => f.write_str("json-verbose"),
            Payload::Fixed { bytes } => write!(f, "bytes:{bytes}"),
            Payload::Recorded { .. } => f.write_str("recorded"),
        }
    }
}

impl FromStr for Payload {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let range = Payload::FIXED_BYTES_MIN..=Payload::FIXED_BYTES_MAX;
        match (text, text.strip_prefix("bytes:").map(u32::from_str)) {
            ("c37118", _) => Ok(Payload::C37118),
            ("json", _) => Ok(Payload::Json),
            ("json-verbose", _) => Ok(Payload::JsonVerbose),
            (_, Some(Ok(bytes))) if range.contains(&bytes) => Ok(Payload::Fixed { bytes }),
            _ => Err(format!(
                "`{text}` is no payload; write `c37118`, `json`, `json-verbose` or `bytes:N` \
                 with N in {}..={}",
                range.start(),
                range.end()
            )),
        }
    }
}
