//! The kinds of lanes: which form their frames have, and whether they are deflated. Must not encode
//! anything (that is `encoder`).

/// The forms there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Form {
    /// The payload as one WebSocket frame. Always open: it is the feed's log.
    Raw,
    /// A Server-Sent Event in one HTTP chunk.
    Sse,
    /// A `gridcast.v1.json` envelope in one WebSocket text frame.
    Json,
    /// A `gridcast.v1.bin` envelope in one WebSocket binary frame.
    Binary,
    /// For readers in this process: see `wire/export.rs`.
    Export,
}

impl Form {
    /// Every form that a client may have, for listings.
    pub const ALL: [Self; 4] = [Self::Raw, Self::Sse, Self::Json, Self::Binary];

    /// The word for labels.
    pub fn word(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Sse => "sse",
            Self::Json => "json",
            Self::Binary => "binary",
            Self::Export => "export",
        }
    }
}

/// What a lane holds: a form, deflated or not. What a subscriber may choose about its bytes is
/// here, so that whoever chooses the same shares them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LaneKind {
    /// The form of a frame.
    pub form: Form,
    /// How messages are deflated (RFC 7692); none sends them as they are.
    pub deflate: Option<Deflation>,
}

/// How the messages of a lane are deflated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Deflation {
    /// Size of the window, as a power of two: what the client asked for.
    pub window_bits: u8,
    /// Effort, 1 to 9.
    pub level: u8,
    /// Messages below this many bytes are sent as they are.
    pub bytes_min: u32,
}

impl LaneKind {
    /// Payloads as they are.
    pub const RAW: Self = Self::plain(Form::Raw);
    /// Server-Sent Events.
    pub const SSE: Self = Self::plain(Form::Sse);
    /// For readers in this process.
    pub const EXPORT: Self = Self::plain(Form::Export);

    /// A form as it is.
    pub const fn plain(form: Form) -> Self {
        Self { form, deflate: None }
    }

    /// True when the lane's form has room for a notice that every client sees.
    pub fn shows_notices(self) -> bool {
        self.form != Form::Raw
    }

    /// True when one connection may follow many feeds in this form, so that a frame names its own.
    pub fn is_multiplexed(self) -> bool {
        matches!(self.form, Form::Json | Form::Binary)
    }
}
