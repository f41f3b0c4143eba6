//! Messages as lines: which series, which fields, what time. Must not send them.

use crate::influx::line;
use crate::influx::settings::Rules;
use crate::store::spill::Weighed;
use crate::store::writer::{Intake, Message};

/// What a line occupies beside its text: itself and the header of an allocation.
const LINE_BYTES: usize = 64;

/// A message in line protocol.
#[derive(Debug)]
pub struct Line {
    /// The text, with its line break.
    pub text: Box<[u8]>,
    payload_bytes: usize,
}

impl Weighed for Line {
    fn bytes(&self) -> usize {
        LINE_BYTES + self.text.len()
    }

    fn payload_bytes(&self) -> usize {
        self.payload_bytes
    }
}

/// Makes lines by the rules of the settings.
#[derive(Debug)]
pub struct Lines {
    rules: Rules,
    scratch: Vec<u8>,
}

impl Lines {
    /// Nothing made yet.
    #[must_use]
    pub fn new(rules: Rules) -> Self {
        Self { rules, scratch: Vec::new() }
    }
}

impl Intake for Lines {
    type Row = Line;

    fn row(&mut self, message: Message) -> Result<Line, &'static str> {
        let named = self.rules.name(&message.topic).ok_or("no_series")?;
        self.scratch.clear();
        line::append_series(&mut self.scratch, &named.measurement, named.tags.into_iter());
        line::append_fields(&mut self.scratch, &message.payload, message.time_ns)
            .map_err(line::Unsuited::word)?;
        let text = self.scratch.as_slice().into();
        Ok(Line { text, payload_bytes: message.payload.len() })
    }
}
