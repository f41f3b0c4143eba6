//! What a configuration says of one PMU: its channels, and how its numbers are written. Must not
//! read frames.

/// TIME_BASE, PMUs and DATA_RATE of a body.
pub(super) type Read = (u32, Vec<Station>, i16);

/// One PMU of a stream.
#[derive(Clone, Debug, PartialEq)]
pub struct Station {
    /// Its name.
    pub name: Box<str>,
    /// Its own IDCODE.
    pub id: u16,
    /// How its numbers are written.
    pub format: Format,
    /// Its phasors.
    pub phasors: Vec<PhasorChannel>,
    /// Its analog values.
    pub analogs: Vec<AnalogChannel>,
    /// Its words of status bits.
    pub digitals: Vec<DigitalWord>,
    /// Nominal frequency: 50 or 60 Hz.
    pub nominal_hz: u8,
    /// How often it was changed.
    pub changes: u16,
    /// What only the edition of 2024 has.
    pub edition2024: Option<Edition2024>,
}

/// What the edition of 2024 adds to the data of a PMU.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Edition2024 {
    /// How many frequencies there are.
    pub frequencies: u16,
    /// Scale and offset of the first of them.
    pub frequency: (f32, f32),
    /// How many rates of change of frequency there are.
    pub rocofs: u16,
    /// Scale and offset of the first of them.
    pub rocof: (f32, f32),
}

/// The FORMAT word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Format(pub u16);

/// What a phasor is a phasor of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Volts.
    Volt,
    /// Amperes.
    Ampere,
}

/// One phasor of a PMU.
#[derive(Clone, Debug, PartialEq)]
pub struct PhasorChannel {
    /// Its name.
    pub name: Box<str>,
    /// Its unit.
    pub unit: Unit,
    /// Units a count, where it is written as integers.
    pub scale: f64,
    /// What is subtracted from its angle, in rad, where it is written as integers.
    pub angle_offset: f32,
}

/// One analog value of a PMU.
#[derive(Clone, Debug, PartialEq)]
pub struct AnalogChannel {
    /// Its name.
    pub name: Box<str>,
    /// What it is, where the configuration says: `point on wave`, `rms`, `peak`.
    pub sort: Option<&'static str>,
    /// Units a count, where it is written as an integer.
    pub scale: f64,
    /// What is added then.
    pub offset: f64,
}

/// A word of status bits.
#[derive(Clone, Debug, PartialEq)]
pub struct DigitalWord {
    /// The names of its bits, the lowest first.
    pub names: Box<[Box<str>]>,
    /// The bits that are set when all is as it should be.
    pub normal: u16,
    /// The bits that are connected to something.
    pub valid: u16,
}

impl Station {
    /// The bytes of its data.
    #[must_use]
    pub fn block_bytes(&self) -> usize {
        let (frequencies, rocofs) = self.frequency_counts();
        self.status_bytes()
            + self.phasors.len() * self.format.phasor_bytes()
            + (frequencies + rocofs) * self.format.frequency_bytes()
            + self.analogs.len() * self.format.analog_bytes()
            + self.digitals.len() * 2
    }

    /// The bytes before the first phasor.
    fn status_bytes(&self) -> usize {
        if self.edition2024.is_some() { 4 } else { 2 }
    }

    /// How many frequencies and rates of change of frequency it has.
    pub(crate) fn frequency_counts(&self) -> (usize, usize) {
        self.edition2024.map_or((1, 1), |own| (own.frequencies.into(), own.rocofs.into()))
    }
}

impl Format {
    /// Whether phasors are magnitude and angle, not real and imaginary part.
    #[must_use]
    pub fn is_polar(self) -> bool {
        self.0 & 1 != 0
    }

    /// Whether phasors are floating-point numbers.
    #[must_use]
    pub fn has_float_phasors(self) -> bool {
        self.0 & 2 != 0
    }

    /// Whether analog values are floating-point numbers.
    #[must_use]
    pub fn has_float_analogs(self) -> bool {
        self.0 & 4 != 0
    }

    /// Whether frequency and its rate of change are floating-point numbers.
    #[must_use]
    pub fn has_float_frequency(self) -> bool {
        self.0 & 8 != 0
    }

    fn phasor_bytes(self) -> usize {
        if self.has_float_phasors() { 8 } else { 4 }
    }

    fn analog_bytes(self) -> usize {
        if self.has_float_analogs() { 4 } else { 2 }
    }

    pub(crate) fn frequency_bytes(self) -> usize {
        if self.has_float_frequency() { 4 } else { 2 }
    }
}

impl Unit {
    /// As it is written beside a number.
    #[must_use]
    pub fn symbol(self) -> &'static str {
        match self {
            Self::Volt => "V",
            Self::Ampere => "A",
        }
    }

    pub(crate) fn of_current(is_current: bool) -> Self {
        if is_current { Self::Ampere } else { Self::Volt }
    }
}

impl DigitalWord {
    /// A word whose bits all have a name, and no two the same: viewers find a bit by it. A bit
    /// without one of its own is `bit N`.
    pub(crate) fn new(mut names: Vec<Box<str>>, normal: u16, valid: u16) -> Self {
        for at in 0..names.len() {
            let (before, rest) = names.split_at_mut(at);
            if let Some(name) = rest.first_mut().filter(|n| n.is_empty() || before.contains(n)) {
                *name = format!("bit {at}").into();
            }
        }
        Self { names: names.into(), normal, valid }
    }
}

/// The nominal frequency that the FNOM word says.
pub(crate) fn nominal_hz(fnom: u16) -> u8 {
    if fnom & 1 == 1 { 50 } else { 60 }
}
