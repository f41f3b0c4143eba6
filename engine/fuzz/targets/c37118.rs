//! C37.118: whatever comes, the decoder holds no more than a frame, and what it makes of a frame
//! that is whole is JSON. Input: a kind of configuration, the length of its body (two bytes), that
//! body, and the body of data; both get envelopes, which a fuzzer would hardly find. Then all of it
//! as a stream and as a datagram. Owns no rule of the standard.
#![no_main]

use gridcast_connectors::c37118::configuration::Configuration;
use gridcast_connectors::c37118::data::{Measurement, announces_configuration, blocks};
use gridcast_connectors::c37118::fragments::Fragments;
use gridcast_connectors::c37118::frame::{First, Frame, FrameKind, encode};
use gridcast_connectors::c37118::json::{Place, write};
use gridcast_connectors::c37118::stamp::Stamp;
use gridcast_connectors::c37118::stream::{Cut, Cutter, datagram};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

fuzz_target!(|data: &[u8]| {
    let Some((&[kind, high, low], rest)) = data.split_first_chunk() else { return };
    let kind = FrameKind::ALL[usize::from(kind) % FrameKind::ALL.len()];
    let length = usize::from(u16::from_be_bytes([high, low])).min(rest.len());
    let (configuration, body) = rest.split_at(length);
    let is_2024 = kind as u8 >= FrameKind::Data2024 as u8;
    let data_kind = if is_2024 { FrameKind::Data2024 } else { FrameKind::Data };
    let configuration = encode(kind, 3, 7, Stamp::default(), configuration).expect("short");
    let measured = encode(data_kind, 3, 7, Stamp::default(), body).expect("short");
    let known = whole(&configuration).and_then(|frame| known(&frame, configuration.len()));
    if let Some(known) = known {
        decode(&known, &whole(&measured).expect("encoded"));
    }
    let stream = [&configuration[..], data, &measured].concat();
    cut(&stream, usize::from(low).max(1));
    datagram(&stream, |_| {});
});

fn whole(bytes: &[u8]) -> Option<Frame<'_>> {
    match Frame::first(bytes) {
        First::Whole(frame) => Some(frame),
        _ => None,
    }
}

fn known(frame: &Frame<'_>, bytes: usize) -> Option<Configuration> {
    let (known, frames) = Fragments::default().take(frame).ok()??;
    assert!(known.stations.len() * 30 <= bytes, "PMUs out of nothing");
    assert!(known.data_bytes <= 65_535 && known.time_base > 0);
    assert_eq!(frames.len(), bytes);
    Some(known)
}

/// Everything that is decoded of data is written as JSON.
fn decode(known: &Configuration, frame: &Frame<'_>) {
    // What it answers is of no matter here, only that it does.
    let _ = announces_configuration(known, frame);
    let Ok(blocks) = blocks(known, frame) else { return };
    let (mut measurement, mut out) = (Measurement::default(), Vec::new());
    let mut pmus = 0;
    for (station, block) in blocks {
        measurement.read(station, block).expect("it fits");
        assert_eq!(measurement.phasors.len(), station.phasors.len());
        let turned = |degrees: f32| degrees.is_nan() || (-180.0..=180.0).contains(&degrees);
        assert!(measurement.phasors.iter().all(|phasor| turned(phasor.angle_deg)));
        let place = Place { stream: "s", station, utc_ns: 0, stamp: frame.stamp };
        write(&mut out, place, &measurement).expect("everything has a form");
        serde_json::from_slice::<Value>(&out).expect("it is JSON");
        pmus += 1;
    }
    assert_eq!(pmus, known.stations.len());
}

/// Whatever a stream is, frames that come out of it are whole, and in their order.
fn cut(stream: &[u8], piece_bytes: usize) {
    let mut cutter = Cutter::default();
    let mut found = 0;
    for piece in stream.chunks(piece_bytes) {
        cutter.add(piece);
        while let Some(cut) = cutter.next() {
            if let Cut::Frame(frame) = cut {
                assert_eq!(whole(frame.bytes).map(|again| again.bytes), Some(frame.bytes));
                found += frame.bytes.len();
            }
        }
    }
    assert!(found <= stream.len(), "more came out than went in");
}
