//! Where the token comes from. Owns that a refused one is not tried again. Must not send it.

use crate::link::{Ending, Next};
use crate::options::{Token, check_token};

/// How often the function may give a token that was refused already, before that is final: it may
/// keep one until its own clock says that it has expired.
const REFUSED_MAX: u32 = 5;

/// See the file header.
pub struct Tokens {
    source: Token,
    sent: Option<String>,
    refused: Option<String>,
    /// How often one that was refused was given again.
    repeats: u32,
}

impl Tokens {
    /// From this source.
    #[must_use]
    pub fn new(source: Token) -> Self {
        Self { source, sent: None, refused: None, repeats: 0 }
    }

    /// The token for the next connection.
    ///
    /// # Errors
    /// Why there is none, and what follows.
    pub async fn next(&mut self) -> Result<Option<String>, Ending> {
        let token = match &self.source {
            Token::None => None,
            Token::Fixed(token) => Some(token.clone()),
            Token::Asked(ask) => Some(asked(ask().await)?),
        };
        if token.is_some() && token == self.refused {
            self.repeats += 1;
            let reason = "the function gives the token that was refused";
            let is_final = self.repeats >= REFUSED_MAX;
            let next = if is_final { Next::No } else { Next::Later };
            return Err(Ending { next, ..Ending::of_status(401, reason, None) });
        }
        self.repeats = 0;
        self.sent.clone_from(&token);
        Ok(token)
    }

    /// Where they come from, and the one that was sent last.
    #[must_use]
    pub fn standing(&self) -> (Token, Option<String>) {
        (self.source.clone(), self.sent.clone())
    }

    /// A connection was judged by this one at its end.
    pub fn stood(&mut self, token: Option<String>) {
        self.sent = token;
    }

    /// What follows from an end that may be about the token: another one is asked for at once.
    #[must_use]
    pub fn judged(&mut self, ending: Ending) -> Ending {
        let may_change = matches!(self.source, Token::Asked(_));
        if !(ending.is_about_token() && may_change && self.repeats == 0) {
            return ending;
        }
        self.refused.clone_from(&self.sent);
        Ending { next: Next::Now, ..ending }
    }
}

fn asked(token: Result<String, crate::options::TokenError>) -> Result<String, Ending> {
    let failed = |error: String| Ending::lost(format!("no token: {error}"));
    let token = token.map_err(|error| failed(error.to_string()))?;
    check_token(&token).map_err(|error| failed(error.to_owned()))?;
    Ok(token)
}
