//! What a setting is, and the ways to write one down. Must not list any: that is `table`.

// Units of bounds.
pub(crate) const KIB: u64 = 1 << 10;
pub(crate) const MIB: u64 = 1 << 20;
pub(crate) const GIB: u64 = 1 << 30;
pub(crate) const DAY_MS: u64 = 86_400_000;
pub(crate) const YEAR_S: u64 = 31_536_000;

/// One setting.
#[derive(Clone, Copy, Debug)]
pub struct Knob {
    /// The section of the file.
    pub section: &'static str,
    /// The key in its section; a unit ends its name.
    pub key: &'static str,
    /// What its values are.
    pub kind: Kind,
    /// What it is for and why the default is what it is.
    pub reason: &'static str,
}

/// What the values of a setting are.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// A whole number within a range.
    Integer {
        /// When nothing is said.
        default: u64,
        /// The smallest.
        min: u64,
        /// The largest.
        max: u64,
        /// What is counted.
        unit: &'static str,
    },
    /// On or off; off when nothing is said.
    Switch,
    /// On or off; on when nothing is said.
    SwitchedOn,
    /// One of some words; the first when nothing is said.
    Word(&'static [&'static str]),
    /// An address and a port; where the default is none, it may be left empty.
    Address {
        /// When nothing is said.
        default: &'static str,
    },
    /// A file; none when nothing is said.
    Path,
    /// Any text; none when nothing is said.
    Text {
        /// Whether nobody may see it who did not write it.
        is_secret: bool,
    },
    /// Any number of texts; none when nothing is said.
    List,
    /// Networks, as [`Networks`](crate::settings::networks::Networks) reads them; none when nothing
    /// is said.
    Networks,
}

/// A table that a file may hold any number of times, `[[section.key]]`.
#[derive(Clone, Copy, Debug)]
pub struct Rows {
    /// The section it belongs to.
    pub section: &'static str,
    /// Its name there.
    pub key: &'static str,
    /// What it says for itself; the first of these it must say.
    pub own: &'static [Knob],
    /// The settings of its section that it may say again.
    pub inherited: &'static [&'static str],
}

/// One setting after another would drown in braces: default, min, max, unit.
pub(crate) const fn integer(
    section: &'static str,
    key: &'static str,
    (default, min, max, unit): (u64, u64, u64, &'static str),
    reason: &'static str,
) -> Knob {
    Knob { section, key, kind: Kind::Integer { default, min, max, unit }, reason }
}

/// A file.
pub(crate) const fn path(section: &'static str, key: &'static str, reason: &'static str) -> Knob {
    Knob { section, key, kind: Kind::Path, reason }
}

/// Any text.
pub(crate) const fn text(section: &'static str, key: &'static str, reason: &'static str) -> Knob {
    Knob { section, key, kind: Kind::Text { is_secret: false }, reason }
}

/// Any number of texts.
pub(crate) const fn list(section: &'static str, key: &'static str, reason: &'static str) -> Knob {
    Knob { section, key, kind: Kind::List, reason }
}

impl Rows {
    /// Its name in messages and in the file, `section.key`.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{}.{}", self.section, self.key)
    }
}

impl Knob {
    /// Its name in messages and flags, `section.key`.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{}.{}", self.section, self.key)
    }

    /// Its name in the environment.
    #[must_use]
    pub fn variable(&self) -> String {
        format!("GRIDCAST_{}_{}", self.section, self.key).to_ascii_uppercase()
    }
}
