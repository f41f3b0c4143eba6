//! C37.118.2-2011 framing: pure encoders of data frames, the CFG-2 configuration frame and
//! commands, and the check of a received frame. All fields are big-endian. Field layouts follow the
//! standard; conformance beyond the framing is not claimed. Must not read clocks, and must not know
//! WebSocket or the plan of a run.

use crc::{CRC_16_IBM_3740, Crc, Table};

/// Units of FRACSEC per second used by every encoder of this crate.
pub const TIME_BASE: u32 = 1_000_000;

/// Size of the default data frame: eight float phasors, frequency, its rate and one digital word.
pub const DEFAULT_DATA_BYTES: usize = 92;

/// Bytes before the body of every frame.
pub const ENVELOPE_BYTES: usize = 14;

/// The header fields of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Envelope {
    /// IDCODE of the stream, 1 to 65534.
    pub id: u16,
    /// Unix seconds, UTC.
    pub soc: u32,
    /// Time quality flags.
    pub quality: u8,
    /// Fraction of the second in units of the stream's TIME_BASE (24 bits).
    pub fracsec: u32,
}

/// The kinds of frame this crate writes and recognises.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Measurements.
    Data,
    /// A text for people to read.
    Header,
    /// The capabilities of the device.
    Config1,
    /// Current configuration.
    Config2,
    /// A request from the consumer to the device.
    Command,
    /// Current configuration, extended.
    Config3,
}

/// One phasor in one of the three encodings.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Phasor {
    /// Real and imaginary part, scaled.
    RectInt(i16, i16),
    /// Magnitude, scaled, and angle in 10⁻⁴ rad.
    PolarInt(u16, i16),
    /// Magnitude and angle in rad, or real and imaginary part, unscaled.
    Float(f32, f32),
}

/// A frequency, its rate of change, or an analog value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value {
    /// Scaled integer.
    Int(i16),
    /// Physical unit.
    Float(f32),
}

/// The measurements of one PMU in a data frame.
#[derive(Debug, Clone, PartialEq)]
pub struct Block {
    /// Status word.
    pub stat: u16,
    /// Phasors in the order of the configuration.
    pub phasors: Vec<Phasor>,
    /// Frequency: Hz if a float, else the deviation from nominal in mHz.
    pub freq: Value,
    /// Rate of change of frequency: Hz/s if a float, else hundredths of it.
    pub dfreq: Value,
    /// Analog values.
    pub analogs: Vec<Value>,
    /// Digital status words.
    pub digitals: Vec<u16>,
}

/// Configuration of one PMU in a CFG-2 frame.
#[derive(Debug, Clone, PartialEq)]
pub struct Station {
    /// Station name, at most 16 bytes of ASCII.
    pub name: String,
    /// IDCODE of its data.
    pub id: u16,
    /// FORMAT word: bit 3 float frequency, 2 float analogs, 1 float phasors, 0 polar.
    pub format: u16,
    /// Name and PHUNIT of each phasor.
    pub phasors: Vec<(String, u32)>,
    /// Name and ANUNIT of each analog.
    pub analogs: Vec<(String, u32)>,
    /// Sixteen names, normal-state mask and valid mask of each digital word.
    pub digitals: Vec<([String; 16], u16, u16)>,
    /// Nominal frequency: 50 or 60 Hz.
    pub nominal_hz: u16,
    /// Count of configuration changes.
    pub changes: u16,
}

/// The requests a consumer can make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// Stop sending data.
    Stop = 1,
    /// Start sending data.
    Start = 2,
    /// Send the header frame.
    SendHeader = 3,
    /// Send the capabilities.
    SendConfig1 = 4,
    /// Send the current configuration.
    SendConfig2 = 5,
    /// Send the extended configuration.
    SendConfig3 = 6,
}

/// Why bytes are not a valid frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The message is shorter than any frame, or FRAMESIZE differs from its length.
    #[error("size field and message length differ")]
    Size,
    /// The sync word is not defined by the standard.
    #[error("no sync word")]
    Sync,
    /// The checksum is wrong.
    #[error("checksum mismatch")]
    Checksum,
}

/// Writes a data frame.
pub fn encode_data(envelope: Envelope, blocks: &[Block], out: &mut Vec<u8>) {
    let start = begin(Kind::Data, envelope, out);
    blocks.iter().for_each(|block| block.write(out));
    finish(start, out);
}

/// Writes the data frame of [`Station::changed`].
pub fn encode_changed(id: u16, values: &Measurement, out: &mut Vec<u8>) {
    let Measurement { soc, fracsec, quality, stat, phasors, .. } = *values;
    let (volts, amperes) = (phasors[3], phasors[7]);
    let (power, lag) = (3.0 * volts.0 * amperes.0, volts.1 - amperes.1);
    let block = Block {
        stat,
        phasors: phasors.map(|(magnitude, angle)| Phasor::Float(magnitude, angle)).to_vec(),
        freq: Value::Float(values.freq_hz),
        dfreq: Value::Float(values.dfreq_hz_per_s),
        analogs: vec![Value::Float(power * lag.cos()), Value::Float(power * lag.sin())],
        digitals: vec![values.digital],
    };
    encode_data(Envelope { id, soc, quality, fracsec }, &[block], out);
}

/// How a configuration states a rate: frames per second if positive, seconds per frame if negative.
pub fn data_rate(frames_per_s: f64) -> i16 {
    if frames_per_s >= 1.0 {
        frames_per_s.round() as i16
    } else {
        -(1.0 / frames_per_s).round() as i16
    }
}

/// Writes a CFG-2 frame; `data_rate` is frames per second, or seconds per frame when negative.
pub fn encode_config2(envelope: Envelope, stations: &[Station], data_rate: i16, out: &mut Vec<u8>) {
    let start = begin(Kind::Config2, envelope, out);
    out.extend_from_slice(&TIME_BASE.to_be_bytes());
    put(out, stations.len() as u16);
    stations.iter().for_each(|station| station.write(out));
    out.extend_from_slice(&data_rate.to_be_bytes());
    finish(start, out);
}

/// Writes a command frame.
pub fn encode_command(envelope: Envelope, command: Command, out: &mut Vec<u8>) {
    let start = begin(Kind::Command, envelope, out);
    put(out, command as u16);
    finish(start, out);
}

/// Checks size, sync word and checksum, and reads the header.
pub fn check(frame: &[u8]) -> Result<(Kind, Envelope), FrameError> {
    let (head, _) = frame.split_first_chunk::<ENVELOPE_BYTES>().ok_or(FrameError::Size)?;
    let (covered, sum) = frame.split_last_chunk::<2>().ok_or(FrameError::Size)?;
    let [sync, kind, size_hi, size_lo, id_hi, id_lo, s3, s2, s1, s0, quality, f2, f1, f0] = *head;
    if covered.len() < ENVELOPE_BYTES || word(size_hi, size_lo) as usize != frame.len() {
        return Err(FrameError::Size);
    }
    let kind = Kind::of_sync(sync, kind).ok_or(FrameError::Sync)?;
    if CHECKSUM.checksum(covered) != u16::from_be_bytes(*sum) {
        return Err(FrameError::Checksum);
    }
    let soc = u32::from_be_bytes([s3, s2, s1, s0]);
    let fracsec = u32::from_be_bytes([0, f2, f1, f0]);
    Ok((kind, Envelope { id: word(id_hi, id_lo), soc, quality, fracsec }))
}

/// Changes the IDCODE of a whole frame and recomputes the checksum.
pub fn readdress(frame: &mut [u8], id: u16) {
    amend(frame, 4, id.to_be_bytes());
}

/// Changes the time stamp of a whole frame of any kind and recomputes the checksum. The leap-second
/// bits and the time quality stay as they are.
pub fn restamp(frame: &mut [u8], soc: u32, fracsec: u32) {
    let Some(quality) = frame.get(10).copied() else { return };
    let ([s3, s2, s1, s0], [_, f2, f1, f0]) = (soc.to_be_bytes(), fracsec.to_be_bytes());
    amend(frame, 6, [s3, s2, s1, s0, quality, f2, f1, f0]);
}

/// Writes a field if the frame has it, and recomputes the checksum.
fn amend<const N: usize>(frame: &mut [u8], at: usize, value: [u8; N]) {
    if let Some((covered, sum)) = frame.split_last_chunk_mut::<2>()
        && let Some(field) = covered.get_mut(at..at + N)
    {
        field.copy_from_slice(&value);
        *sum = CHECKSUM.checksum(covered).to_be_bytes();
    }
}

/// The TIME_BASE in a whole configuration frame: units of FRACSEC per second, 24 bits. `None` if
/// the frame has no TIME_BASE.
pub fn time_base(configuration: &[u8]) -> Option<u32> {
    let (kind, _) = check(configuration).ok()?;
    let at = match kind {
        Kind::Config1 | Kind::Config2 => ENVELOPE_BYTES,
        // TIME_BASE follows the fragment number.
        Kind::Config3 => ENVELOPE_BYTES + 2,
        Kind::Data | Kind::Header | Kind::Command => return None,
    };
    let (word, _) = configuration.get(at..)?.split_first_chunk::<4>()?;
    let [_flags, b2, b1, b0] = *word;
    Some(u32::from_be_bytes([0, b2, b1, b0])).filter(|units| *units > 0)
}

/// A default data frame kept ready, so that a tick costs only a few stores and one checksum.
#[derive(Debug, Clone)]
pub struct Template {
    frame: [u8; DEFAULT_DATA_BYTES],
}

/// The fields that change from tick to tick in a default data frame.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Measurement {
    /// Second of century.
    pub soc: u32,
    /// Fraction, in `TIME_BASE` units.
    pub fracsec: u32,
    /// Time quality flags.
    pub quality: u8,
    /// Status word.
    pub stat: u16,
    /// Magnitude and angle (rad) of VA VB VC V1 IA IB IC I1.
    pub phasors: [(f32, f32); 8],
    /// Frequency, Hz.
    pub freq_hz: f32,
    /// Rate of change of frequency, Hz/s.
    pub dfreq_hz_per_s: f32,
    /// The digital word.
    pub digital: u16,
}

impl Template {
    /// The frame of a stream, all measurements zero.
    pub fn new(id: u16) -> Template {
        let mut frame = [0; DEFAULT_DATA_BYTES];
        let size = (DEFAULT_DATA_BYTES as u16).to_be_bytes();
        frame[..4].copy_from_slice(&[SYNC, SYNC_DATA, size[0], size[1]]);
        frame[4..6].copy_from_slice(&id.to_be_bytes());
        Template { frame }
    }

    /// Writes the measurements of a tick into the frame and returns it, checksum included.
    pub fn patch(&mut self, values: &Measurement) -> &[u8; DEFAULT_DATA_BYTES] {
        let frame = &mut self.frame;
        frame[6..10].copy_from_slice(&values.soc.to_be_bytes());
        frame[10] = values.quality;
        frame[11..14].copy_from_slice(&values.fracsec.to_be_bytes()[1..]);
        frame[14..16].copy_from_slice(&values.stat.to_be_bytes());
        for (field, (magnitude, angle)) in frame[16..80].chunks_exact_mut(8).zip(values.phasors) {
            field[..4].copy_from_slice(&magnitude.to_be_bytes());
            field[4..].copy_from_slice(&angle.to_be_bytes());
        }
        frame[80..84].copy_from_slice(&values.freq_hz.to_be_bytes());
        frame[84..88].copy_from_slice(&values.dfreq_hz_per_s.to_be_bytes());
        frame[88..90].copy_from_slice(&values.digital.to_be_bytes());
        let sum = CHECKSUM.checksum(&frame[..90]);
        frame[90..].copy_from_slice(&sum.to_be_bytes());
        &self.frame
    }
}

impl Block {
    fn write(&self, out: &mut Vec<u8>) {
        put(out, self.stat);
        self.phasors.iter().for_each(|phasor| phasor.write(out));
        self.freq.write(out);
        self.dfreq.write(out);
        self.analogs.iter().for_each(|analog| analog.write(out));
        self.digitals.iter().for_each(|word| put(out, *word));
    }
}

impl Phasor {
    fn write(self, out: &mut Vec<u8>) {
        match self {
            Phasor::RectInt(re, im) => [Value::Int(re), Value::Int(im)],
            Phasor::PolarInt(magnitude, angle) => {
                [Value::Int(magnitude.cast_signed()), Value::Int(angle)]
            }
            Phasor::Float(first, second) => [Value::Float(first), Value::Float(second)],
        }
        .iter()
        .for_each(|value| value.write(out));
    }
}

impl Value {
    fn write(self, out: &mut Vec<u8>) {
        match self {
            Value::Int(value) => out.extend_from_slice(&value.to_be_bytes()),
            Value::Float(value) => out.extend_from_slice(&value.to_be_bytes()),
        }
    }
}

impl Station {
    /// The configuration of the default data frame, as a device would announce it.
    pub fn simulated(id: u16) -> Station {
        let channel = |unit: u32| move |name: &str| (name.to_owned(), unit);
        let voltages = ["VA", "VB", "VC", "V1"].into_iter().map(channel(PHUNIT_VOLT));
        let currents = ["IA", "IB", "IC", "I1"].into_iter().map(channel(PHUNIT_AMPERE));
        Station {
            name: format!("SIM-{id:05}"),
            id,
            format: FORMAT_FLOAT_POLAR,
            phasors: voltages.chain(currents).collect(),
            analogs: Vec::new(),
            digitals: vec![(std::array::from_fn(|bit| format!("DIG{bit:02}")), 0, 0xFFFF)],
            nominal_hz: 60,
            changes: 1,
        }
    }

    /// The CFG-2 frame after the configuration has changed: power values have been added.
    pub fn changed(id: u16) -> Station {
        let analogs = ["P", "Q"].map(|name| (name.to_owned(), ANUNIT_RMS)).to_vec();
        Station { analogs, changes: 2, ..Station::simulated(id) }
    }

    fn write(&self, out: &mut Vec<u8>) {
        put_name(out, &self.name);
        let counts = [self.phasors.len(), self.analogs.len(), self.digitals.len()];
        put(out, self.id);
        put(out, self.format);
        counts.iter().for_each(|count| put(out, *count as u16));
        let channels = self.phasors.iter().chain(&self.analogs);
        channels.clone().for_each(|(name, _)| put_name(out, name));
        self.digitals.iter().flat_map(|(names, ..)| names).for_each(|name| put_name(out, name));
        channels.for_each(|(_, unit)| out.extend_from_slice(&unit.to_be_bytes()));
        for (_, normal, valid) in &self.digitals {
            put(out, *normal);
            put(out, *valid);
        }
        put(out, u16::from(self.nominal_hz == 50));
        put(out, self.changes);
    }
}

fn begin(kind: Kind, envelope: Envelope, out: &mut Vec<u8>) -> usize {
    let start = out.len();
    out.extend_from_slice(&[SYNC, kind.word(), 0, 0]);
    put(out, envelope.id);
    out.extend_from_slice(&envelope.soc.to_be_bytes());
    out.push(envelope.quality);
    out.extend_from_slice(&envelope.fracsec.to_be_bytes()[1..]);
    start
}

fn finish(start: usize, out: &mut Vec<u8>) {
    let size = (out.len() - start + 2) as u16;
    out[start + 2..start + 4].copy_from_slice(&size.to_be_bytes());
    let sum = CHECKSUM.checksum(&out[start..]);
    put(out, sum);
}

fn put(out: &mut Vec<u8>, word: u16) {
    out.extend_from_slice(&word.to_be_bytes());
}

fn put_name(out: &mut Vec<u8>, name: &str) {
    let mut field = [b' '; NAME_BYTES];
    field.iter_mut().zip(name.bytes()).for_each(|(slot, byte)| *slot = byte);
    out.extend_from_slice(&field);
}

fn word(hi: u8, lo: u8) -> u16 {
    u16::from_be_bytes([hi, lo])
}

impl Kind {
    const ALL: [Kind; 6] =
        [Kind::Data, Kind::Header, Kind::Config1, Kind::Config2, Kind::Command, Kind::Config3];

    /// The kind of the frame that begins with these two bytes, if they are a sync word. Most frames
    /// carry version 1; many devices write version 2 with the same layout.
    pub fn of_sync(sync: u8, word: u8) -> Option<Kind> {
        let begins = sync == SYNC && matches!(word & 0x0F, 1 | 2);
        Kind::ALL.into_iter().find(|kind| begins && kind.word() & 0xF0 == word & 0xF0)
    }

    /// The second sync byte of this kind of frame.
    fn word(self) -> u8 {
        match self {
            Kind::Data => SYNC_DATA,
            Kind::Header => 0x11,
            Kind::Config1 => 0x21,
            Kind::Config2 => 0x31,
            Kind::Command => 0x41,
            Kind::Config3 => 0x52,
        }
    }
}

/// The first byte of every frame.
pub const SYNC: u8 = 0xAA;
const SYNC_DATA: u8 = 0x01;
const NAME_BYTES: usize = 16;
/// Frequency, analogs and phasors as floats, phasors polar.
const FORMAT_FLOAT_POLAR: u16 = 0x000F;
/// One volt or one ampere per count; ignored for floats.
const PHUNIT_VOLT: u32 = 0x0001_86A0;
const PHUNIT_AMPERE: u32 = 0x0101_86A0;
/// Root mean square, factor 1.
const ANUNIT_RMS: u32 = 0x0100_0001;
static CHECKSUM: Crc<u16, Table<16>> = Crc::<u16, Table<16>>::new(&CRC_16_IBM_3740);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::f32::consts::FRAC_PI_3;

    const NEW_YEAR: u32 = 0x6955_b900;

    fn envelope(id: u16, soc: u32, fracsec: u32) -> Envelope {
        Envelope { id, soc, quality: 0, fracsec }
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn default_measurement(fracsec: u32, stat: u16) -> Measurement {
        let third = 2.0 * FRAC_PI_3;
        let volts = 79674.34;
        let phasors = [
            (volts, 0.0),
            (volts, -third),
            (volts, third),
            (volts, 0.0),
            (500.0, -0.5),
            (500.0, -third - 0.5),
            (500.0, third - 0.5),
            (500.0, -0.5),
        ];
        let (freq_hz, dfreq_hz_per_s) = (59.98, -0.01);
        Measurement {
            soc: NEW_YEAR,
            fracsec,
            quality: 0,
            stat,
            phasors,
            freq_hz,
            dfreq_hz_per_s,
            digital: 1,
        }
    }

    fn as_block(values: &Measurement) -> Block {
        Block {
            stat: values.stat,
            phasors: values.phasors.iter().map(|(m, a)| Phasor::Float(*m, *a)).collect(),
            freq: Value::Float(values.freq_hz),
            dfreq: Value::Float(values.dfreq_hz_per_s),
            analogs: vec![],
            digitals: vec![values.digital],
        }
    }

    #[test]
    fn example_a_rectangular_integers_and_float_analogs() {
        let block = Block {
            stat: 0,
            phasors: [(14635, 0), (-7318, -12676), (-7318, 12675), (1092, 0)]
                .map(|(re, im)| Phasor::RectInt(re, im))
                .to_vec(),
            freq: Value::Int(2500),
            dfreq: Value::Int(0),
            analogs: vec![Value::Float(100.0), Value::Float(1000.0), Value::Float(10000.0)],
            digitals: vec![0x3c12],
        };
        let mut frame = vec![];
        encode_data(envelope(7734, 1_149_580_800, 16_817), &[block], &mut frame);
        assert_eq!(
            hex(&frame),
            "aa0100341e3644853600000041b10000392b0000e36ace7ce36a31830444000009c4000042c80000\
             447a0000461c40003c12d43f"
        );
    }

    #[test]
    fn example_b_default_frame_of_tick_one() {
        let values = default_measurement(16_667, 0);
        let expected = "aa01005c03e96955b9000000411b0000\
             479b9d2c00000000479b9d2cc0060a92479b9d2c40060a92479b9d2c00000000\
             43fa0000bf00000043fa0000c0260a9243fa00003fcc152443fa0000bf000000\
             426feb85bc23d70a0001ea9f";
        let mut frame = vec![];
        encode_data(envelope(1001, NEW_YEAR, 16_667), &[as_block(&values)], &mut frame);
        assert_eq!(hex(&frame), expected);
        assert_eq!(hex(Template::new(1001).patch(&values)), expected);
    }

    #[test]
    fn example_b_with_a_trigger_at_tick_three() {
        let mut template = Template::new(1001);
        template.patch(&default_measurement(16_667, 0));
        let frame = template.patch(&default_measurement(50_000, 0x0804));
        assert_eq!(hex(&frame[90..]), "edf2");
    }

    #[test]
    fn examples_c_and_d_polar_integers_and_absent_data() {
        let angles = [0, -20944, 20944].into_iter().chain([-5000, -25944, 15944]);
        let magnitudes = [23094u16, 23094, 23094, 500, 500, 500];
        let phasors = magnitudes.into_iter().zip(angles);
        let mut block = Block {
            stat: 0,
            phasors: phasors.map(|(m, a)| Phasor::PolarInt(m, a)).collect(),
            freq: Value::Int(-12),
            dfreq: Value::Int(3),
            analogs: vec![],
            digitals: vec![],
        };
        let mut frame = vec![];
        encode_data(envelope(2001, NEW_YEAR, 20_000), &[block.clone()], &mut frame);
        assert_eq!(
            hex(&frame),
            "aa01002e07d16955b90000004e2000005a3600005a36ae305a3651d001f4ec7801f49aa801f43e48\
             fff400034dcb"
        );
        block.stat = 0x8000;
        block.phasors = vec![Phasor::PolarInt(0, i16::MIN); 6];
        (block.freq, block.dfreq) = (Value::Int(i16::MIN), Value::Int(i16::MIN));
        frame.clear();
        encode_data(envelope(2001, NEW_YEAR, 40_000), &[block], &mut frame);
        assert_eq!(
            hex(&frame),
            "aa01002e07d16955b90000009c40800000008000000080000000800000008000000080000000\
             800080008000efa6"
        );
    }

    #[test]
    fn example_e_configuration_of_the_default_stream() {
        let station = Station { name: "SIM-SUB-0001".into(), ..Station::simulated(1001) };
        let mut frame = vec![];
        encode_config2(envelope(1001, NEW_YEAR, 0), &[station], 60, &mut frame);
        assert_eq!(frame.len(), 474);
        assert_eq!(hex(&frame[..14]), "aa3101da03e96955b90000000000");
        assert_eq!(hex(&frame[462..]), "0000ffff00000001003c9227");
    }

    #[test]
    fn example_f_commands() {
        let sums = [
            (Command::Stop, "92de"),
            (Command::Start, "a2bd"),
            (Command::SendHeader, "b29c"),
            (Command::SendConfig1, "c27b"),
            (Command::SendConfig2, "d25a"),
            (Command::SendConfig3, "e239"),
        ];
        for (command, sum) in sums {
            let mut frame = vec![];
            encode_command(envelope(1001, NEW_YEAR, 0), command, &mut frame);
            let code = command as u16;
            assert_eq!(hex(&frame), format!("aa41001203e96955b90000000000{code:04x}{sum}"));
            assert_eq!(check(&frame), Ok((Kind::Command, envelope(1001, NEW_YEAR, 0))));
        }
    }

    #[test]
    fn a_configuration_says_its_time_base() {
        let mut frame = Vec::new();
        encode_config2(envelope(7, NEW_YEAR, 0), &[Station::simulated(7)], 30, &mut frame);
        assert_eq!(time_base(&frame), Some(TIME_BASE));
        amend(&mut frame, 14, [0x80, 0, 0x03, 0xE8]);
        assert_eq!(time_base(&frame), Some(1_000), "flags are no part of it");
        amend(&mut frame, 0, [SYNC, 0x52]);
        amend(&mut frame, 16, [0, 0, 0x0B, 0xB8]);
        assert_eq!(time_base(&frame), Some(3_000), "CFG-3 has it two bytes later");
        amend(&mut frame, 16, [0; 4]);
        assert_eq!(time_base(&frame), None);
        assert_eq!(time_base(Template::new(7).patch(&default_measurement(0, 0))), None);
    }

    proptest! {
        #[test]
        fn what_is_encoded_checks(id in 1u16..65535, soc: u32, fracsec in 0..TIME_BASE) {
            let values = Measurement { soc, ..default_measurement(fracsec, 0) };
            let expected = Ok((Kind::Data, envelope(id, soc, fracsec)));
            prop_assert_eq!(check(Template::new(id).patch(&values)), expected);
        }

        #[test]
        fn another_idcode_checks_too(id in 1u16..65535, soc: u32, fracsec in 0..TIME_BASE) {
            let values = Measurement { soc, ..default_measurement(fracsec, 0) };
            let mut frame = *Template::new(1001).patch(&values);
            readdress(&mut frame, id);
            prop_assert_eq!(check(&frame), Ok((Kind::Data, envelope(id, soc, fracsec))));
        }

        #[test]
        fn another_time_checks_too(soc: u32, fracsec in 0u32..1 << 24, quality: u8) {
            let values = Measurement { quality, ..default_measurement(7, 0) };
            let recorded = *Template::new(1001).patch(&values);
            let mut frame = recorded;
            restamp(&mut frame, soc, fracsec);
            let expected = Envelope { quality, ..envelope(1001, soc, fracsec) };
            prop_assert_eq!(check(&frame), Ok((Kind::Data, expected)));
            let body = |frame: &[u8]| [&frame[..6], &frame[10..11], &frame[14..90]].concat();
            prop_assert_eq!(body(&frame), body(&recorded));
        }

        #[test]
        fn any_flipped_bit_is_noticed(bit in 0..DEFAULT_DATA_BYTES * 8) {
            let mut frame = *Template::new(1001).patch(&default_measurement(16_667, 0));
            frame[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(check(&frame).is_err());
        }

        #[test]
        fn no_bytes_make_the_check_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let mut frame = bytes;
            prop_assert!(check(&frame).is_err());
            let size = (frame.len() as u16).to_be_bytes();
            if frame.len() > 4 {
                frame[..4].copy_from_slice(&[SYNC, SYNC_DATA, size[0], size[1]]);
                prop_assert!(check(&frame).is_err() || frame.len() >= 16);
            }
        }
    }
}
