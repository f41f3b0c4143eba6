//! The scenarios that come with gridload. Must not hold numbers: those live in the TOML files,
//! each with its reasons.

/// A scenario that comes with the program.
#[derive(Debug, Clone, Copy)]
pub struct Builtin {
    /// What to call it on the command line.
    pub name: &'static str,
    /// The commented TOML file.
    pub text: &'static str,
}

/// The scenario of a bare `gridload`.
pub const DEFAULT: &str = "quickstart";

/// Every built-in scenario, smallest load first.
pub const ALL: [Builtin; 11] = [
    Builtin { name: DEFAULT, text: include_str!("../../scenarios/quickstart.toml") },
    Builtin { name: "substation", text: include_str!("../../scenarios/substation.toml") },
    Builtin { name: "plant-vibration", text: include_str!("../../scenarios/plant-vibration.toml") },
    Builtin { name: "super-pdc", text: include_str!("../../scenarios/super-pdc.toml") },
    Builtin { name: "flight-test", text: include_str!("../../scenarios/flight-test.toml") },
    Builtin {
        name: "control-room-mixed",
        text: include_str!("../../scenarios/control-room-mixed.toml"),
    },
    Builtin { name: "wide-area", text: include_str!("../../scenarios/wide-area.toml") },
    Builtin { name: "dashboards", text: include_str!("../../scenarios/dashboards.toml") },
    Builtin { name: "control-room", text: include_str!("../../scenarios/control-room.toml") },
    Builtin { name: "market-data", text: include_str!("../../scenarios/market-data.toml") },
    Builtin {
        name: "public-frequency-map",
        text: include_str!("../../scenarios/public-frequency-map.toml"),
    },
];

/// The built-in scenario of this name.
pub fn find(name: &str) -> Option<Builtin> {
    ALL.into_iter().find(|builtin| builtin.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::implied::Implied;
    use crate::scenario::scenario::Scenario;

    #[test]
    fn each_is_sound_and_bears_its_own_name() {
        for builtin in ALL {
            let scenario = Scenario::parse(builtin.text).unwrap();
            assert_eq!(scenario.name, builtin.name);
            assert!(!scenario.about.is_empty(), "{}", builtin.name);
        }
        assert!(find(DEFAULT).is_some() && find("nothing").is_none());
    }

    #[test]
    fn loads_are_those_of_their_descriptions() {
        let implied = |name| Implied::of(&Scenario::parse(find(name).unwrap().text).unwrap());
        for (name, publishes, deliveries) in [
            ("quickstart", 600.0, 60e3),
            ("substation", 60.0, 60e3),
            ("super-pdc", 750.0, 15e3),
            ("plant-vibration", 1_500.0, 4_800.0),
            ("flight-test", 2_800.0, 36_400.0),
            ("market-data", 5e3, 1.25e6),
            ("dashboards", 6e3, 600e3),
            ("control-room", 12e3, 600e3),
            ("control-room-mixed", 12e3, 114e3),
            ("wide-area", 15e3, 300e3),
            ("public-frequency-map", 10.0, 2e6),
        ] {
            let load = implied(name);
            assert_eq!((load.publishes_per_s, load.deliveries_per_s), (publishes, deliveries));
        }
    }
}
