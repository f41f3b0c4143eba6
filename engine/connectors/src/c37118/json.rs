//! A measurement as a JSON message for viewers: names and units beside every number, what is absent
//! is `null`. Must not decode anything.

use serde::ser::{SerializeMap, SerializeSeq};
use serde::{Serialize, Serializer};

use super::configuration::station::{DigitalWord, Station};
use super::data::Measurement;
use super::stamp::{Clock, Stamp, rfc3339};
use super::stat::Stat;

/// Where a measurement belongs to.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// The name of the stream.
    pub stream: &'a str,
    /// The PMU.
    pub station: &'a Station,
    /// The instant, in nanoseconds since 1970, UTC.
    pub utc_ns: u64,
    /// The time as it was sent.
    pub stamp: Stamp,
}

/// Writes the message into `out`, which is emptied first.
///
/// # Errors
/// None that can happen: everything that is written has a form in JSON.
pub fn write(
    out: &mut Vec<u8>,
    place: Place<'_>,
    measurement: &Measurement,
) -> Result<(), serde_json::Error> {
    out.clear();
    let station = place.station;
    let message = Message {
        stream: place.stream,
        id: station.id,
        station: &station.name,
        time: Time(place.utc_ns),
        clock: place.stamp.clock(),
        stat: measurement.stat,
        frequency_hz: measurement.frequency_hz,
        rocof_hz_per_s: measurement.rocof_hz_per_s,
        phasors: Phasors(station, measurement),
        analogs: Analogs(station, measurement),
        digitals: Digitals(station, measurement),
    };
    serde_json::to_writer(out, &message)
}

#[derive(Serialize)]
struct Message<'a> {
    stream: &'a str,
    id: u16,
    station: &'a str,
    time: Time,
    clock: Clock,
    stat: Stat,
    frequency_hz: f32,
    rocof_hz_per_s: f32,
    phasors: Phasors<'a>,
    analogs: Analogs<'a>,
    digitals: Digitals<'a>,
}

struct Time(u64);

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&rfc3339(self.0))
    }
}

struct Phasors<'a>(&'a Station, &'a Measurement);

impl Serialize for Phasors<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Phasor<'a> {
            name: &'a str,
            unit: &'static str,
            magnitude: f32,
            angle_deg: f32,
        }
        let pairs = self.0.phasors.iter().zip(&self.1.phasors);
        serializer.collect_seq(pairs.map(|(channel, phasor)| Phasor {
            name: &channel.name,
            unit: channel.unit.symbol(),
            magnitude: phasor.magnitude,
            angle_deg: phasor.angle_deg,
        }))
    }
}

struct Analogs<'a>(&'a Station, &'a Measurement);

impl Serialize for Analogs<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Analog<'a> {
            name: &'a str,
            #[serde(skip_serializing_if = "Option::is_none")]
            sort: Option<&'static str>,
            value: f32,
        }
        let pairs = self.0.analogs.iter().zip(&self.1.analogs);
        serializer.collect_seq(pairs.map(|(channel, value)| Analog {
            name: &channel.name,
            sort: channel.sort,
            value: *value,
        }))
    }
}

struct Digitals<'a>(&'a Station, &'a Measurement);

impl Serialize for Digitals<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Digital<'a> {
            word: u16,
            bits: Bits<'a>,
        }
        let mut words = serializer.serialize_seq(Some(self.1.digitals.len()))?;
        for (channel, word) in self.0.digitals.iter().zip(&self.1.digitals) {
            words.serialize_element(&Digital { word: *word, bits: Bits(channel, *word) })?;
        }
        words.end()
    }
}

/// The bits that are connected to something, by name.
struct Bits<'a>(&'a DigitalWord, u16);

impl Serialize for Bits<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut bits = serializer.serialize_map(None)?;
        for (bit, name) in (0..16u16).zip(&self.0.names) {
            let mask = 1u16 << bit;
            if self.0.valid & mask != 0 {
                bits.serialize_entry(&**name, &(self.1 & mask != 0))?;
            }
        }
        bits.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::c37118::configuration::Configuration;
    use crate::c37118::data::blocks;
    use crate::c37118::frame::{First, Frame};
    use crate::c37118::samples;
    use serde_json::{Value, json};

    fn message(configuration: &[u8], data: &[u8]) -> Value {
        let [configuration, data] = [configuration, data].map(|bytes| {
            let First::Whole(frame) = Frame::first(bytes) else { panic!("not whole") };
            frame
        });
        let configuration = Configuration::read(&configuration).unwrap();
        let (station, block) = blocks(&configuration, &data).unwrap().next().unwrap();
        let mut measurement = Measurement::default();
        measurement.read(station, block).unwrap();
        let utc_ns = data.stamp.utc_ns(configuration.time_base).unwrap();
        let place = Place { stream: "north", station, utc_ns, stamp: data.stamp };
        let mut out = b"what was there".to_vec();
        write(&mut out, place, &measurement).unwrap();
        serde_json::from_slice(&out).unwrap()
    }

    #[test]
    fn a_message_has_names_units_and_words() {
        let message = message(&samples::config2(), &samples::data(16_667, 0x0804));
        assert_eq!(message["stream"], "north");
        assert_eq!((&message["id"], &message["station"]), (&json!(1001), &json!("SIM-SUB-0001")));
        assert_eq!(message["time"], "2026-01-01T00:00:00.016667000Z");
        assert_eq!(message["clock"], json!({"state": "locked", "leap_second": "none"}));
        assert_eq!(message["stat"]["trigger"], "frequency");
        assert_eq!(message["stat"]["bits"], 0x0804);
        assert!((message["frequency_hz"].as_f64().unwrap() - 59.98).abs() < 1e-9, "shortest form");
        let phasor = &message["phasors"][1];
        assert_eq!((&phasor["name"], &phasor["unit"]), (&json!("VB"), &json!("V")));
        assert!((phasor["angle_deg"].as_f64().unwrap() + 120.0).abs() < 1e-4);
        assert_eq!(message["digitals"][0]["word"], 1);
        assert_eq!(message["digitals"][0]["bits"]["DIG00"], true);
        assert_eq!(message["digitals"][0]["bits"]["DIG15"], false);
        assert_eq!(message["analogs"], json!([]));
    }

    #[test]
    fn what_is_absent_is_null() {
        let mut data = samples::data(0, 0x8000);
        let end = data.len() - 2;
        data[16..20].copy_from_slice(&f32::NAN.to_be_bytes());
        let body = data[14..end].to_vec();
        let data = samples::frame(crate::c37118::frame::FrameKind::Data, 1001, 0, &body);
        let message = message(&samples::config2(), &data);
        assert_eq!(message["phasors"][0]["magnitude"], Value::Null);
        assert_eq!(message["stat"]["data"], "test");
    }
}
