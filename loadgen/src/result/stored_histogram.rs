//! The stored form of a histogram: a few quantiles for quick reading, and the complete histogram in
//! the compact form of other tools (HdrHistogram V2, deflated, in base64). A histogram that is read
//! back merges as exactly as the original. Must not know what is measured.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hdrhistogram::serialization::{Deserializer as Reader, Serializer as _, V2DeflateSerializer};
use hdrhistogram::{Counter, Histogram};
use serde::de::Error as _;
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::receive::histograms::{Extremes, SecondHistogram, SignedHistogram};

/// The keys of a non-empty histogram.
#[derive(Serialize, Deserialize)]
struct Whole {
    count: u64,
    negatives: u64,
    min_negative_ns: i64,
    #[serde(default)]
    saturated: u64,
    mean_ns: f64,
    p50_ns: i64,
    p90_ns: i64,
    p99_ns: i64,
    p999_ns: i64,
    max_ns: i64,
    hist_b64: String,
}

/// The key of an empty histogram.
#[derive(Serialize, Deserialize)]
struct Empty {
    count: u64,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Stored {
    Whole(Box<Whole>),
    Empty(Empty),
}

impl Serialize for SignedHistogram {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.is_empty() {
            return Empty { count: 0 }.serialize(serializer);
        }
        let Extremes { negatives, min_negative_ns, max_ns, saturated } = self.extremes();
        let whole = Whole {
            count: self.len(),
            negatives,
            min_negative_ns,
            saturated,
            mean_ns: self.mean(),
            p50_ns: self.quantile(0.5),
            p90_ns: self.quantile(0.9),
            p99_ns: self.quantile(0.99),
            p999_ns: self.quantile(0.999),
            max_ns,
            hist_b64: encode(self.values()).map_err(S::Error::custom)?,
        };
        whole.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for SignedHistogram {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let whole = match Stored::deserialize(deserializer)? {
            Stored::Whole(whole) => *whole,
            Stored::Empty(Empty { count: 0 }) => return Ok(SignedHistogram::new()),
            Stored::Empty(_) => return Err(D::Error::custom("a histogram without its counts")),
        };
        let values = decode(&whole.hist_b64).map_err(D::Error::custom)?;
        let Whole { negatives, min_negative_ns, max_ns, saturated, .. } = whole;
        let extremes = Extremes { negatives, min_negative_ns, max_ns, saturated };
        let histogram = SignedHistogram::of(&values, extremes).map_err(D::Error::custom)?;
        if histogram.len() != whole.count {
            return Err(D::Error::custom("a histogram whose counts do not add up"));
        }
        Ok(histogram)
    }
}

/// The stored form of a second's histogram, which only this program reads.
#[derive(Serialize, Deserialize)]
struct StoredSecond {
    max_ns: i64,
    hist_b64: String,
}

impl Serialize for SecondHistogram {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let hist_b64 = encode(self.values()).map_err(S::Error::custom)?;
        StoredSecond { max_ns: self.max(), hist_b64 }.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for SecondHistogram {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let StoredSecond { max_ns, hist_b64 } = StoredSecond::deserialize(deserializer)?;
        let values = decode(&hist_b64).map_err(D::Error::custom)?;
        SecondHistogram::of(&values, max_ns).map_err(D::Error::custom)
    }
}

fn encode<C: Counter>(values: &Histogram<C>) -> Result<String, String> {
    let mut bytes = Vec::new();
    let written = V2DeflateSerializer::new().serialize(values, &mut bytes);
    written.map_err(|error| error.to_string())?;
    Ok(STANDARD.encode(bytes))
}

fn decode<C: Counter>(text: &str) -> Result<Histogram<C>, String> {
    let bytes = STANDARD.decode(text).map_err(|error| error.to_string())?;
    Reader::new().deserialize(&mut bytes.as_slice()).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    proptest! {
        #[test]
        fn what_is_read_back_is_what_was_written(
            values in prop::collection::vec(-1000i64..1 << 40, 0..60),
        ) {
            let mut histogram = SignedHistogram::new();
            values.iter().for_each(|ns| histogram.record(*ns));
            let text = serde_json::to_string(&histogram).unwrap();
            let read: SignedHistogram = serde_json::from_str(&text).unwrap();
            prop_assert_eq!(read.values(), histogram.values());
            prop_assert_eq!(read.extremes(), histogram.extremes());
        }
    }

    #[test]
    fn a_second_is_read_back_whole() {
        let mut second = SecondHistogram::new();
        [1_000, 2_000, 64_123].into_iter().for_each(|ns| second.record(ns));
        let text = serde_json::to_string(&second).unwrap();
        let read: SecondHistogram = serde_json::from_str(&text).unwrap();
        assert!(read.counts().eq(second.counts()));
        assert_eq!((read.max(), second.max()), (64_123, 64_123));
        let empty = serde_json::to_string(&SecondHistogram::new()).unwrap();
        assert!(serde_json::from_str::<SecondHistogram>(&empty).unwrap().is_empty());
    }

    #[test]
    fn other_tools_read_the_counts() {
        let mut histogram = SignedHistogram::new();
        [5, 70, 70].into_iter().for_each(|ns| histogram.record(ns));
        let json = serde_json::to_value(&histogram).unwrap();
        let bytes = STANDARD.decode(json["hist_b64"].as_str().unwrap()).unwrap();
        let read: Histogram<u64> = Reader::new().deserialize(&mut bytes.as_slice()).unwrap();
        assert_eq!((&read, &json["count"]), (histogram.values(), &json!(3)));
    }

    #[test]
    fn what_does_not_add_up_is_refused() {
        let mut histogram = SignedHistogram::new();
        histogram.record(1_000);
        let whole = serde_json::to_value(&histogram).unwrap();
        for (key, value) in
            [("count", json!(2)), ("hist_b64", json!("AAAA")), ("hist_b64", json!("?"))]
        {
            let mut broken = whole.clone();
            broken[key] = value;
            assert!(serde_json::from_value::<SignedHistogram>(broken).is_err(), "{key}");
        }
        assert!(serde_json::from_value::<SignedHistogram>(json!({"count": 7})).is_err());
    }
}
