//! Encodes one publisher's frames. The content of a tick's frame is a function of seed, publisher
//! and tick. Pure; must not know WebSocket or sockets.

use std::f64::consts::TAU;
use std::sync::Arc;

use crate::codec::c37118;
use crate::codec::c37118::{Envelope, Measurement, Station, TIME_BASE, Template};
use crate::codec::payload::{
    JSON_BYTES_MAX, Payload, WriteValues, fixed_block, stamp_fixed, write_json, write_short,
    write_verbose,
};
use crate::codec::track::Track;
use crate::plan::departures::{Departure, FrameKind};
use crate::plan::publisher::PublisherPlan;
use crate::plan::schedule::Schedule;
use crate::time::draw::mix;

/// Encodes one publisher's frames.
#[derive(Debug)]
pub struct Encoder {
    id: u16,
    schedule: Schedule,
    data_rate: i16,
    waveform: Waveform,
    form: Form,
    /// A frame without a template, or a recorded frame that was changed.
    rare: Vec<u8>,
}

#[derive(Debug)]
pub(crate) enum Form {
    C37118(Box<Template>),
    Json { write: WriteValues, text: String },
    Fixed(Vec<u8>),
    Recorded(Arc<Track>),
}

impl Encoder {
    /// The encoder of a publisher.
    pub fn new(run_id: u32, seed: u64, plan: &PublisherPlan, schedule: Schedule) -> Encoder {
        let form = match plan.payload {
            Payload::C37118 => Form::C37118(Box::new(Template::new(plan.id))),
            Payload::Json => json_form(write_short),
            Payload::JsonVerbose => json_form(write_verbose),
            Payload::Fixed { bytes } => Form::Fixed(fixed_block(run_id, plan.id, bytes as usize)),
            Payload::Recorded { .. } => Form::Recorded(plan.recorded.clone().unwrap_or_default()),
        };
        let waveform = Waveform::new(seed, plan.id);
        let data_rate = c37118::data_rate(plan.rate.per_second());
        Encoder { id: plan.id, schedule, data_rate, waveform, form, rare: Vec::new() }
    }

    /// Whether the frames are text messages.
    pub fn is_text(&self) -> bool {
        matches!(self.form, Form::Json { .. })
    }

    /// The frame of a tick. The same arguments always give the same bytes.
    pub fn encode(&mut self, seq: u32) -> &[u8] {
        let tick = self.schedule.tick(seq);
        let (soc, fracsec) = self.schedule.grid.soc_fracsec(tick, TIME_BASE);
        let mark = self.schedule.mark(seq);
        let values = || mark.on(self.waveform.at(tick, soc, fracsec));
        match &mut self.form {
            Form::C37118(_) if mark.is_changed => {
                self.rare.clear();
                c37118::encode_changed(self.id, &values(), &mut self.rare);
                &self.rare
            }
            Form::C37118(template) => template.patch(&values()),
            Form::Json { write, text } => {
                write_json(self.id, &values(), *write, text);
                text.as_bytes()
            }
            Form::Fixed(block) => {
                stamp_fixed(block, seq, self.schedule.intended_unix_ns(seq));
                block
            }
            Form::Recorded(track) => {
                let start_unix_ns = self.schedule.faults.run.from_ns;
                track.played_frame(seq, start_unix_ns, &mut self.rare)
            }
        }
    }

    /// The frame to send. The same arguments always give the same bytes.
    pub fn encode_departure(&mut self, frame: Departure) -> &[u8] {
        match frame.kind {
            FrameKind::Configuration => self.configuration(frame.seq),
            FrameKind::Data | FrameKind::Copy => self.encode(frame.seq),
        }
    }

    fn configuration(&mut self, seq: u32) -> &[u8] {
        let tick = self.schedule.tick(seq);
        let (soc, fracsec) = self.schedule.grid.soc_fracsec(tick, TIME_BASE);
        let envelope = Envelope { id: self.id, soc, quality: 0, fracsec };
        self.rare.clear();
        let stations = [Station::changed(self.id)];
        c37118::encode_config2(envelope, &stations, self.data_rate, &mut self.rare);
        &self.rare
    }
}

/// A grid quantity as a PMU measures it: a slow swing of the frequency and small noise on every
/// value, all a function of (seed, publisher, tick).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Waveform {
    seed: u64,
    id: u64,
    phase: f64,
}

impl Waveform {
    fn new(seed: u64, id: u16) -> Waveform {
        let id = u64::from(id);
        let phase = unit(mix(seed, id, u64::MAX)) * TAU;
        Waveform { seed, id, phase }
    }

    fn at(&self, tick: u64, soc: u32, fracsec: u32) -> Measurement {
        let t_s = f64::from(soc % SWING_WRAP_S) + f64::from(fracsec) / f64::from(TIME_BASE);
        let swing = TAU / SWING_S;
        let (sin, cos) = (swing * t_s + self.phase).sin_cos();
        // The angle is the integral of the deviation from nominal, so angle, frequency and its rate
        // agree.
        let drift_rad = -TAU * SWING_HZ / swing * cos;
        let noise = |channel: u64| unit(mix(self.seed ^ channel, self.id, tick)) - 0.5;
        let phasor = |channel: u64, nominal: f64, angle: f64| {
            let magnitude = nominal * (1.0 + 0.002 * sin + 0.0004 * noise(channel));
            (magnitude as f32, wrap(angle + drift_rad + 0.0002 * noise(channel + 64)) as f32)
        };
        let phasors = std::array::from_fn(|index| {
            let (nominal, lag) = if index < 4 { (VOLTS, 0.0) } else { (AMPERES, 0.5) };
            phasor(index as u64, nominal, PHASE_ANGLES[index % 4] - lag)
        });
        Measurement {
            soc,
            fracsec,
            quality: 0,
            stat: 0,
            phasors,
            freq_hz: (NOMINAL_HZ + SWING_HZ * sin + 0.001 * noise(100)) as f32,
            dfreq_hz_per_s: (SWING_HZ * swing * cos + 0.001 * noise(101)) as f32,
            digital: 1,
        }
    }
}

fn wrap(angle: f64) -> f64 {
    angle - TAU * (angle / TAU).round()
}

pub(crate) fn unit(word: u64) -> f64 {
    (word >> 11) as f64 / (1u64 << 53) as f64
}

fn json_form(write: WriteValues) -> Form {
    Form::Json { write, text: String::with_capacity(JSON_BYTES_MAX) }
}

const NOMINAL_HZ: f64 = 60.0;

const VOLTS: f64 = 79_674.34;

const AMPERES: f64 = 500.0;

const PHASE_ANGLES: [f64; 4] = [0.0, -TAU / 3.0, TAU / 3.0, 0.0];

/// The frequency swings by this much with this period: a slow inter-area oscillation.
const SWING_HZ: f64 = 0.02;

const SWING_S: f64 = 4.0;

/// A multiple of the period, so that no waveform jumps where the time wraps.
const SWING_WRAP_S: u32 = 1_000_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::claim::{Claim, Corrupt, When};
    use crate::codec::payload::{bytes_max, identify};
    use crate::fixtures;
    use crate::plan::deviation::PublisherFaults;
    use crate::plan::schedule::Jitter;
    use crate::time::grid::Grid;
    use proptest::prelude::*;

    const FORMS: [Payload; 5] = [
        Payload::C37118,
        Payload::Json,
        Payload::JsonVerbose,
        Payload::Fixed { bytes: 48 },
        Payload::Fixed { bytes: 5136 },
    ];

    fn encoder(id: u16, payload: Payload) -> Encoder {
        let plan = PublisherPlan { payload, ..fixtures::publisher(id, 60) };
        let grid = Grid::new(plan.rate);
        let jitter = Jitter { seed: 1, id, max_ns: 500 };
        let first_tick = 1_767_225_600 * 60;
        let (ticks, measured_from, offset_ns) = (1000, 0, 77);
        let schedule = Schedule {
            grid,
            first_tick,
            ticks,
            measured_from,
            offset_ns,
            jitter,
            faults: PublisherFaults::default(),
        };
        Encoder::new(9, 1, &plan, schedule)
    }

    fn expected(encoder: &Encoder, seq: u32) -> Claim {
        let schedule = encoder.schedule;
        let when = match encoder.form {
            Form::Fixed(_) => {
                let intended_unix_ns = schedule.intended_unix_ns(seq);
                When::Seq { run_id: 9, seq, intended_unix_ns }
            }
            _ => {
                let (soc, fracsec) = schedule.grid.soc_fracsec(schedule.tick(seq), TIME_BASE);
                When::Instant { soc, fracsec, quality: 0 }
            }
        };
        Claim { id: encoder.id, when }
    }

    #[test]
    fn json_is_valid_json_of_the_stated_size() {
        let mut encoder = encoder(1001, Payload::Json);
        let text = std::str::from_utf8(encoder.encode(1)).unwrap().to_string();
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["id"], 1001);
        assert_eq!(value["t"], 1_767_225_600_016_667u64);
        assert_eq!(value["ph"].as_array().unwrap().len(), 8);
        assert!((220..=260).contains(&text.len()), "{} bytes: {text}", text.len());
    }

    #[test]
    fn spelled_out_json_is_valid_and_of_the_stated_size() {
        let mut encoder = encoder(1001, Payload::JsonVerbose);
        let text = std::str::from_utf8(encoder.encode(1)).unwrap().to_string();
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["phasors"][7]["name"], "current_1");
        assert!((700..=860).contains(&text.len()), "{} bytes: {text}", text.len());
    }

    #[test]
    fn waveform_is_plausible_and_moves() {
        let waveform = Waveform::new(3, 1001);
        let samples: Vec<Measurement> = (0..240u32)
            .map(|n| waveform.at(u64::from(n), 1_767_225_600 + n / 60, n % 60 * 16_666))
            .collect();
        for values in &samples {
            assert!((values.freq_hz - 60.0).abs() < 0.03, "{}", values.freq_hz);
            assert!(values.phasors.iter().all(|(_, angle)| angle.abs() < 3.15));
            assert!((values.phasors[0].0 - 79_674.34).abs() < 400.0);
        }
        let (low, high) = samples.iter().fold((f32::MAX, f32::MIN), |(low, high), values| {
            (low.min(values.freq_hz), high.max(values.freq_hz))
        });
        assert!(high - low > 0.03, "the frequency swings: {low} to {high}");
    }

    #[test]
    fn encoding_is_a_function_of_its_arguments() {
        for payload in FORMS {
            let (mut once, mut again) = (encoder(7, payload), encoder(7, payload));
            let first = once.encode(5).to_vec();
            once.encode(6);
            assert_eq!(once.encode(5), first, "{payload:?}");
            assert_eq!(again.encode(5), first, "{payload:?}");
            assert_ne!(again.encode(6), first, "{payload:?}");
            assert!(first.len() <= bytes_max(payload));
        }
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_identified(id in 1u16..65535, seq in 0u32..1000, form in 0usize..4) {
            let mut encoder = encoder(id, FORMS[form]);
            let expected = expected(&encoder, seq);
            prop_assert_eq!(identify(encoder.encode(seq)), Ok(expected));
        }

        #[test]
        fn any_flipped_bit_is_corrupt(form in 0usize..3, bit: prop::sample::Index) {
            let mut bytes = encoder(1001, FORMS[form]).encode(5).to_vec();
            let bit = bit.index(bytes.len() * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
            prop_assert_eq!(identify(&bytes), Err(Corrupt));
        }

        #[test]
        fn truncation_is_corrupt(form in 0usize..4, cut: prop::sample::Index) {
            let bytes = encoder(1001, FORMS[form]).encode(5).to_vec();
            prop_assert_eq!(identify(&bytes[..cut.index(bytes.len())]), Err(Corrupt));
        }

        #[test]
        fn no_bytes_make_it_panic(
            first in prop::sample::select(vec![0xAAu8, b'{', b'G', 0]),
            rest in prop::collection::vec(any::<u8>(), 0..100),
        ) {
            let bytes = [vec![first], rest].concat();
            prop_assert_eq!(identify(&bytes), Err(Corrupt));
        }
    }
}
