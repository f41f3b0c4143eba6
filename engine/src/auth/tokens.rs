//! Static tokens from `[[auth.token]]`, for set-ups of a few clients. Owns how one is recognised.
//! Must keep digests only, so that a memory dump holds no token.

use std::fmt::Display;
use std::sync::Arc;

use crate::auth::grant::{Rights, Source};
use crate::settings::config::StaticToken;
use crate::settings::files;
use crate::settings::layers::SettingsError;
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
    /// What is wrong with each row, which never says what a token is.
    pub fn load(rows: &[StaticToken]) -> Result<Self, SettingsError> {
        if rows.len() > TOKENS_MAX {
            let message = format!("auth.token: at most {TOKENS_MAX}: for more, use auth.jwks");
            return Err(SettingsError(vec![message]));
        }
        let (mut tokens, mut errors) = (Self::default(), Vec::new());
        for row in rows {
            match tokens.add(row) {
                Ok(()) => {}
                Err(SettingsError(wrong)) => errors.extend(wrong),
            }
        }
        if errors.is_empty() { Ok(tokens) } else { Err(SettingsError(errors)) }
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

    fn add(&mut self, row: &StaticToken) -> Result<(), SettingsError> {
        let fingerprint = fingerprint_of(row)?;
        self.check_new(row, fingerprint)?;
        let rights = Rights {
            subject: row.name.clone(),
            source: Source::Settings,
            subscribe: row.subscribe.clone(),
            publish: row.publish.clone(),
            admin: row.admin,
            publishes_per_s: row.publishes_per_s,
            expires_ns: None,
        };
        self.0.push((fingerprint, Arc::new(rights)));
        Ok(())
    }

    fn check_new(&self, row: &StaticToken, fingerprint: Fingerprint) -> Result<(), SettingsError> {
        for (known, rights) in &self.0 {
            if rights.subject == row.name {
                return Err(wrong(row, "there are two of this name"));
            }
            if *known == fingerprint {
                return Err(wrong(row, format!("its token is also that of {:?}", rights.subject)));
            }
        }
        Ok(())
    }
}

fn wrong(row: &StaticToken, fault: impl Display) -> SettingsError {
    SettingsError(vec![format!("auth.token {:?}: {fault}", row.name)])
}

fn fingerprint_of(row: &StaticToken) -> Result<Fingerprint, SettingsError> {
    let token = row.token.reveal();
    let has_file = !row.token_file.as_os_str().is_empty();
    match (token.is_empty(), has_file, row.sha256.is_empty()) {
        (false, false, true) => digest(token.as_bytes()).map_err(|fault| wrong(row, fault)),
        (true, true, true) => {
            let (key, path) = (format!("auth.token {:?}: token_file", row.name), &row.token_file);
            let bytes = files::read_secret(&key, path)?;
            digest(&bytes).map_err(|fault| files::unusable(&key, path, fault))
        }
        (true, false, false) => parse(&row.sha256)
            .ok_or_else(|| wrong(row, "sha256 is 64 hexadecimal digits: the output of sha256sum")),
        _ => Err(wrong(row, "exactly one of token, token_file and sha256 is needed")),
    }
}

fn digest(token: &[u8]) -> Result<Fingerprint, String> {
    if token.len() < TOKEN_BYTES_MIN {
        return Err(format!(
            "the token has {} bytes, and can be guessed below {TOKEN_BYTES_MIN}: make one with \
             `openssl rand -hex 32`",
            token.len()
        ));
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
                "auth.token \"a\": token_file = \"/nowhere/token\": cannot be read: ",
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
