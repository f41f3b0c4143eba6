//! The keys of a scenario file, table by table, for whoever lists them. Must not read a file.

use crate::scenario::groups;
use crate::scenario::kill::FAULT_KEYS;
use crate::scenario::overlay;
use crate::scenario::publishers::PUBLISHER_KEYS;
use crate::scenario::scenario::{CLOCK_KEYS, HEALTH_KEYS, PHASE_KEYS, ROOT_KEYS};
use crate::scenario::slo::SLO_KEYS;
use crate::scenario::target;

/// The name of each table and its keys; `root` stands for the top of the file.
pub fn tables() -> Vec<(&'static str, Vec<&'static str>)> {
    vec![
        ("root", ROOT_KEYS.to_vec()),
        ("clock", CLOCK_KEYS.to_vec()),
        ("target", target::keys()),
        ("publishers", PUBLISHER_KEYS.to_vec()),
        ("subscribers", groups::KEYS.to_vec()),
        ("phases", PHASE_KEYS.to_vec()),
        ("slo", SLO_KEYS.to_vec()),
        ("health", HEALTH_KEYS.to_vec()),
        ("faults", FAULT_KEYS.to_vec()),
    ]
}

/// The kind of each overlay and the keys of its table, without `kind`.
pub fn overlays() -> Vec<(&'static str, Vec<&'static str>)> {
    overlay::ALL.iter().map(|overlay| (overlay.name(), overlay.keys().to_vec())).collect()
}
