//! Static tokens from `[[auth.token]]`, for set-ups of a few clients. Owns how one is recognised.
//! Must keep digests only, so that a memory dump holds no token.

use std::sync::Arc;

use crate::auth::files::{AuthError, read, without_line_break};
use crate::auth::grant::{Rights, Source};
use crate::settings::config::StaticToken;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// The most tokens: each request with a token is compared with all of them.
const TOKENS_MAX: usize = 1000;
/// The shortest token: what is shorter can be guessed.
const TOKEN_BYTES_MIN: usize = 16;

type Fingerprint = [u8; 32];

/// See the file header.
#[derive(Debug, Default)]
pub struct Tokens(Vec<(Fingerprint, Arc<Rights>)>);

impl Tokens {
    /// Reads the rows of the settings and the files they name.
    ///
    /// # Errors
    /// [`AuthError`], which never says what a token is.
    pub fn load(rows: &[StaticToken]) -> Result<Self, AuthError> {
        if rows.len() > TOKENS_MAX {
            let message = format!("at most {TOKENS_MAX}: for more clients, use auth.jwks");
            return Err(AuthError::content("auth.token", message));
        }
        let mut tokens = Self::default();
        for row in rows {
            let fingerprint = fingerprint_of(row)?;
            tokens.check_new(row, fingerprint)?;
            let rights = Rights {
                subject: row.name.clone(),
                source: Source::Settings,
                subscribe: row.subscribe.clone(),
                publish: row.publish.clone(),
                admin: row.admin,
                publishes_per_s: row.publishes_per_s,
                expires_ns: None,
            };
            tokens.0.push((fingerprint, Arc::new(rights)));
        }
        Ok(tokens)
    }

    /// True when there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The rights of a token. Takes the same time for any: nothing can be learned from it.
    pub fn find(&self, token: &str) -> Option<&Arc<Rights>> {
        let presented: Fingerprint = Sha256::digest(token).into();
        let mut found = None;
        for (fingerprint, rights) in &self.0 {
            if fingerprint.ct_eq(&presented).into() {
                found = Some(rights);
            }
        }
        found
    }

    fn check_new(&self, row: &StaticToken, fingerprint: Fingerprint) -> Result<(), AuthError> {
        for (known, rights) in &self.0 {
            if rights.subject == row.name {
                return Err(AuthError::content(key_of(row), "there are two of this name"));
            }
            if *known == fingerprint {
                let message = format!("its token is also that of {:?}", rights.subject);
                return Err(AuthError::content(key_of(row), message));
            }
        }
        Ok(())
    }
}

fn key_of(row: &StaticToken) -> String {
    format!("auth.token {:?}", row.name)
}

fn fingerprint_of(row: &StaticToken) -> Result<Fingerprint, AuthError> {
    let token = row.token.reveal();
    let has_file = !row.token_file.as_os_str().is_empty();
    match (token.is_empty(), has_file, row.sha256.is_empty()) {
        (false, false, true) => digest(row, token.as_bytes()),
        (true, true, true) => {
            let bytes = read(&format!("{}: token_file", key_of(row)), &row.token_file)?;
            digest(row, without_line_break(&bytes))
        }
        (true, false, false) => parse(&row.sha256).ok_or_else(|| {
            AuthError::content(
                key_of(row),
                "sha256 is 64 hexadecimal digits: the output of sha256sum",
            )
        }),
        _ => {
            let message = "exactly one of token, token_file and sha256 is needed";
            Err(AuthError::content(key_of(row), message))
        }
    }
}

fn digest(row: &StaticToken, token: &[u8]) -> Result<Fingerprint, AuthError> {
    if token.len() < TOKEN_BYTES_MIN {
        let message = format!(
            "the token has {} bytes, and can be guessed below {TOKEN_BYTES_MIN}: make one with \
             `openssl rand -hex 32`",
            token.len()
        );
        return Err(AuthError::content(key_of(row), message));
    }
    Ok(Sha256::digest(token).into())
}

fn parse(hex: &str) -> Option<Fingerprint> {
    let mut fingerprint = Fingerprint::default();
    if hex.len() != 2 * fingerprint.len() || !hex.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    for (byte, digits) in fingerprint.iter_mut().zip(hex.as_bytes().chunks_exact(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    }
    Some(fingerprint)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::config::Config;
    use crate::settings::layers::Settings;

    fn load(rows: &str) -> Result<Tokens, String> {
        let mut settings = Settings::default();
        settings.add_file("f.toml", rows);
        let config = Config::new(&settings).unwrap();
        Tokens::load(&config.auth.token).map_err(|error| error.to_string())
    }

    fn row(text: &str) -> String {
        format!("[[auth.token]]\n{text}\n")
    }

    #[test]
    fn a_token_is_known_by_itself_its_file_or_its_digest() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        std::fs::write(&path, "token-from-a-file\r\n").unwrap();
        // printf token-of-a-digest | sha256sum
        let digest = "3e0067d5d390226e0da87d6e37166aaea1b07c66893f49ace0972d55db2c5b49";
        let tokens = load(
            &[
                row("name = \"a\"\ntoken = \"token-as-it-is-written\"\nadmin = true"),
                row(&format!("name = \"b\"\ntoken_file = {path:?}\npublish = [\"x\"]")),
                row(&format!("name = \"c\"\nsha256 = \"{}\"", digest.to_uppercase())),
            ]
            .concat(),
        );
        let tokens = tokens.unwrap();
        let name = |token| tokens.find(token).map(|rights| rights.subject.as_str());
        assert_eq!(name("token-as-it-is-written"), Some("a"));
        assert_eq!(name("token-from-a-file"), Some("b"));
        assert_eq!(name("token-of-a-digest"), Some("c"));
        assert_eq!(name("token-of-nobody---"), None);
        assert_eq!(name(""), None);
        assert!(!format!("{tokens:?}").contains("written"));
    }

    #[test]
    fn rows_that_make_no_sense_are_refused_without_telling_the_token() {
        let good = "token = \"a-token-of-somebody\"";
        for (rows, part) in [
            (row("name = \"a\""), "auth.token \"a\": exactly one of token, token_file and sha256"),
            (row(&format!("name = \"a\"\n{good}\nsha256 = \"00\"")), "exactly one of"),
            (row("name = \"a\"\ntoken = \"hush-hush\""), "the token has 9 bytes"),
            (row("name = \"a\"\nsha256 = \"0g\""), "sha256 is 64 hexadecimal digits"),
            (
                row("name = \"a\"\ntoken_file = \"/nowhere/token\""),
                "token_file: cannot read /nowhere",
            ),
            (row(&format!("name = \"a\"\n{good}")).repeat(2), "two of this name"),
            (
                row(&format!("name = \"a\"\n{good}")) + &row(&format!("name = \"b\"\n{good}")),
                "auth.token \"b\": its token is also that of \"a\"",
            ),
        ] {
            let error = load(&rows).unwrap_err();
            assert!(error.contains(part), "{error}");
            assert!(!error.contains("hush") && !error.contains("somebody"), "{error}");
        }
    }
}
