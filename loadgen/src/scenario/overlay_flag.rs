//! Parses `--overlay`: the name of an overlay, and the values that differ from its defaults. Must
//! not know any key: `overlay` does.

use std::str::FromStr;

use toml::{Table, Value};

use crate::scenario::overlay::Overlay;
use crate::scenario::section::ScenarioError;

/// An overlay to add to a scenario.
#[derive(Debug, Clone, PartialEq)]
pub struct OverlayFlag {
    /// The overlay, with defaults for values that are not given.
    overlay: Overlay,
    /// The values that are given.
    said: Table,
}

impl OverlayFlag {
    /// Adds it to a scenario. If the scenario has this overlay already, values that are not given
    /// stay.
    ///
    /// # Errors
    /// When a value does not fit the overlay that the scenario has.
    pub fn apply(&self, overlays: &mut Vec<Overlay>) -> Result<(), ScenarioError> {
        let OverlayFlag { overlay, said } = self;
        match overlays.iter_mut().find(|other| other.name() == overlay.name()) {
            None => overlays.push(*overlay),
            Some(there) => {
                let mut values = there.values();
                if said.contains_key("cut") {
                    // The value belongs to the kind of cut that the scenario had.
                    values.remove("silence");
                }
                values.extend(said.clone());
                *there = overlay.of_values(&values)?;
            }
        }
        Ok(())
    }
}

/// `NAME`, or `NAME:KEY=VALUE:KEY=VALUE`. None of these characters is special to a shell, and a
/// comma can separate overlays.
impl FromStr for OverlayFlag {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts = text.split(':');
        let name = parts.next().unwrap_or_default();
        if name.contains('=') {
            return Err(format!("`{name}` stands before any overlay; write e.g. `{EXAMPLE}`"));
        }
        let default: Overlay = name.parse()?;
        let (defaults, mut said) = (default.values(), Table::new());
        for part in parts {
            let wrong = || format!("`{part}` is no value of an overlay; write e.g. `{EXAMPLE}`");
            let (key, value) = part.split_once('=').ok_or_else(wrong)?;
            if said.insert(key.to_owned(), typed(value, defaults.get(key))).is_some() {
                return Err(format!("`{key}` is said twice of `{name}`; leave one out"));
            }
        }
        let overlay = default.of_values(&said).map_err(|error| error.to_string())?;
        Ok(OverlayFlag { overlay, said })
    }
}

/// A value in TOML syntax: a number where the default is a number, a quoted string otherwise.
fn typed(text: &str, default: Option<&Value>) -> Value {
    let whole = || text.parse::<i64>().ok().map(Value::from);
    let number = || whole().or_else(|| text.parse::<f64>().ok().map(Value::from));
    let is_number = default.is_some_and(|value| value.is_integer() || value.is_float());
    is_number.then(number).flatten().unwrap_or_else(|| Value::from(text))
}

const EXAMPLE: &str = "flap-reconnect:share_percent=50:wait=backoff";

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::scenario::lifecycle::{CutEnd, Wait};
    use crate::scenario::overlay::ALL;

    fn laid(texts: &[&str]) -> Vec<Overlay> {
        let mut overlays = Vec::new();
        for text in texts {
            text.parse::<OverlayFlag>().unwrap().apply(&mut overlays).unwrap();
        }
        overlays
    }

    #[test]
    fn a_bare_name_takes_the_defaults_or_what_is_there() {
        for overlay in ALL {
            assert_eq!(laid(&[overlay.name()]), [overlay]);
        }
        let given = "gps-loss:share_percent=50";
        assert_eq!(laid(&[given, "gps-loss"]), laid(&[given]));
    }

    #[test]
    fn values_are_those_of_a_scenario_file() {
        let overlay = Overlay::FlapReconnect {
            at: Some(Duration::from_secs(5)),
            share_percent: 50.0,
            end: CutEnd::Silent(Duration::from_secs(3)),
            wait: Wait::Backoff,
        };
        let said = "flap-reconnect:share_percent=50:wait=backoff:at=5s:cut=silent:silence=3s";
        assert_eq!(laid(&[said]), [overlay]);
        let more = ["late-frames:late_percent=1.5", "late-frames:delay_max=100ms:delay_min=9ms"];
        let Overlay::LateFrames { late_percent, delay_max, .. } = laid(&more)[0] else {
            panic!("{more:?}")
        };
        assert_eq!((late_percent, delay_max.as_millis()), (1.5, 100));
    }

    #[test]
    fn another_cut_does_not_keep_the_silence_of_the_one_before() {
        let silent = "flap-reconnect:cut=silent:silence=3s:at=1s";
        let laid = laid(&[silent, "flap-reconnect:cut=reset"]);
        let [Overlay::FlapReconnect { end, at, .. }] = laid[..] else { panic!("{laid:?}") };
        assert_eq!((end, at), (CutEnd::Reset, Some(Duration::from_secs(1))));
    }

    #[test]
    fn wrong_values_say_what_would_be_right() {
        for (text, message) in [
            ("flap-reconect", "did you mean `flap-reconnect`?"),
            ("flap-reconnect:share=50", "did you mean `share_percent`?"),
            ("flap-reconnect:share_percent=500", "500 is outside 0.1..=100"),
            ("flap-reconnect:share_percent=50%", "must be a number, not string"),
            ("flap-reconnect:wait", "`wait` is no value of an overlay; write e.g. `flap-"),
            ("flap-reconnect:at=1s:at=2s", "`at` is said twice of `flap-reconnect`"),
            ("flap-reconnect:at=5", "`at` in --overlay flap-reconnect: `5` is no duration"),
            ("leap-second:hold=1s", "unknown key `hold` in --overlay leap-second; known keys: at"),
            ("fault-event:kind=x", "unknown key `kind`"),
            ("wait=backoff", "`wait=backoff` stands before any overlay; write e.g. `flap-"),
        ] {
            let found = text.parse::<OverlayFlag>().unwrap_err();
            assert!(found.contains(message), "{text}: {found}");
        }
    }

    #[test]
    fn a_value_that_does_not_go_with_one_that_is_there_is_refused() {
        let mut overlays = laid(&["late-frames:delay_min=1s"]);
        let flag: OverlayFlag = "late-frames:delay_max=500ms".parse().unwrap();
        let error = flag.apply(&mut overlays).unwrap_err().to_string();
        assert!(error.contains("`delay_min` in --overlay late-frames: longer than"), "{error}");
    }

    fn milliseconds() -> impl Strategy<Value = Duration> {
        (1u64..1_000).prop_map(Duration::from_millis)
    }

    /// One of each kind.
    fn overlays() -> impl Strategy<Value = Vec<Overlay>> {
        let at = || prop::option::of((1u64..90_000).prop_map(Duration::from_millis));
        let percents = (0.1f64..30.0, 0.1f64..30.0, 0.1f64..30.0);
        let durations = (milliseconds(), milliseconds());
        let values = (at(), at(), percents, durations, any::<bool>(), 1u32..1_000);
        values.prop_map(|(at, hold, (some, more, most), (short, long), is_skip, count)| {
            let read_rate = is_skip.then_some(u64::from(count));
            let (end, wait) = match is_skip {
                true => (CutEnd::Silent(short), Wait::Backoff),
                false => (CutEnd::Reset, Wait::Fixed(long)),
            };
            vec![
                Overlay::FaultEvent {
                    at,
                    region_percent: some,
                    alarm_desks: count,
                    newcomers_over: long,
                },
                Overlay::FlapReconnect { at, share_percent: some, end, wait },
                Overlay::SlowConsumers {
                    slow_percent: some,
                    read_rate,
                    stopped_percent: more,
                    pausing_percent: most,
                },
                Overlay::LateFrames {
                    late_percent: some,
                    delay_min: short,
                    delay_max: short + long,
                    withheld_percent: more,
                    repeated_percent: most,
                },
                Overlay::GpsLoss { at, share_percent: some, drift_per_min: short },
                Overlay::LeapSecond { at, is_skip },
                Overlay::ConfigChange { at, hold },
            ]
        })
    }

    proptest! {
        #[test]
        fn an_overlay_is_read_as_it_is_written(written in overlays()) {
            for overlay in written {
                let flag: OverlayFlag = overlay.to_string().parse().unwrap();
                for mut there in [Vec::new(), vec![overlay]] {
                    flag.apply(&mut there).unwrap();
                    prop_assert_eq!(&there, &vec![overlay]);
                }
            }
        }
    }
}
