//! Why a client is not let in. Owns the reasons that it is told. Must not know how it is answered.

use crate::metrics::AuthOutcome;
use thiserror::Error;

/// Why a client is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Denied {
    /// Nothing was presented.
    #[error("a token is needed: Authorization: Bearer, ?token= or, where that is set up, a cookie")]
    Missing,
    /// What was presented is no token.
    #[error("{0}")]
    Malformed(&'static str),
    /// A token that is none of ours.
    #[error("unknown token: it is none of those that are set up here")]
    Unknown,
    /// An algorithm that is not taken, or not with this key.
    #[error("wrong algorithm (alg): it is not the one that the token's key is for")]
    Algorithm,
    /// No key of the name that the token gives.
    #[error("unknown key (kid): the token is signed with one that is not in use here")]
    Key,
    /// Several keys could be meant.
    #[error("unnamed key: the token needs a kid, because several keys are in use here")]
    AmbiguousKey,
    /// A signature that does not fit.
    #[error("bad signature: the token was changed, or signed with another key")]
    Signature,
    /// The time of the token is over.
    #[error("token expired (exp)")]
    Expired,
    /// The time of the token has not begun.
    #[error("token not yet valid (nbf)")]
    NotYetValid,
    /// Somebody else's token.
    #[error("wrong issuer (iss): it is not the one of auth.issuer")]
    Issuer,
    /// A token for somebody else.
    #[error("wrong audience (aud): it names none of auth.audience")]
    Audience,
    /// A claim that is missing or of the wrong kind.
    #[error("claim {0}")]
    Claim(&'static str),
    /// Too many subjects publish at once.
    #[error("too many subjects at once (auth.subjects_max)")]
    Full,
}

impl Denied {
    /// Its name in the metrics.
    #[must_use]
    pub const fn outcome(self) -> AuthOutcome {
        match self {
            Self::Missing => AuthOutcome::Missing,
            Self::Malformed(_) => AuthOutcome::Malformed,
            Self::Unknown => AuthOutcome::Unknown,
            Self::Algorithm => AuthOutcome::Algorithm,
            Self::Key | Self::AmbiguousKey => AuthOutcome::Key,
            Self::Signature => AuthOutcome::Signature,
            Self::Expired => AuthOutcome::Expired,
            Self::NotYetValid => AuthOutcome::NotYetValid,
            Self::Issuer => AuthOutcome::Issuer,
            Self::Audience => AuthOutcome::Audience,
            Self::Claim(_) => AuthOutcome::Claim,
            Self::Full => AuthOutcome::Full,
        }
    }
}
