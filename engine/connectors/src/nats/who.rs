//! Who this client is for a server: the CONNECT line. Owns that secrets go nowhere else. Must not
//! connect.

use std::fs;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use nkeys::KeyPair;
use serde_json::{Value, json};

use crate::bridge::settings::Common;
use crate::bridge::supervisor::SessionError;
use crate::nats::settings::Settings;
use crate::nats::wire::Info;

/// The options of CONNECT: no echo of our own messages, and no headers, which the server takes off.
pub fn options(common: &Common, settings: &Settings, info: &Info) -> Result<Value, SessionError> {
    let unreadable = |error: std::io::Error| SessionError::new("credentials", error);
    let mut options = json!({
        "verbose": false,
        "pedantic": false,
        "echo": false,
        "headers": false,
        "protocol": 1,
        "lang": "gridcast",
        "version": env!("CARGO_PKG_VERSION"),
        "name": format!("gridcast {}", common.name),
    });
    if let Some(user) = &common.credentials.user {
        options["user"] = json!(user);
        options["pass"] = json!(common.credentials.password().map_err(unreadable)?);
    }
    if let Some(token) = common.credentials.token().map_err(unreadable)? {
        options["auth_token"] = json!(token);
    }
    if let Some(path) = &settings.creds_file {
        let (jwt, signature) = sign(path, info.nonce.as_deref().unwrap_or_default())?;
        options["jwt"] = json!(jwt);
        options["sig"] = json!(signature);
    }
    Ok(options)
}

/// The JWT of a file, and the signature of its key over what the server asks to be signed.
fn sign(path: &Path, nonce: &str) -> Result<(String, String), SessionError> {
    let error = |what: &str| {
        SessionError::new("credentials", format!("creds_file {}: {what}", path.display()))
    };
    let text = fs::read_to_string(path).map_err(|cause| error(&cause.to_string()))?;
    let jwt = block(&text, "NATS USER JWT").ok_or_else(|| error("there is no user JWT"))?;
    let seed = block(&text, "USER NKEY SEED").ok_or_else(|| error("there is no key"))?;
    // What is wrong with a key is not said: it might tell of the key.
    let key = KeyPair::from_seed(seed).map_err(|_| error("its key is none"))?;
    let signature = key.sign(nonce.as_bytes()).map_err(|_| error("its key cannot sign"))?;
    Ok((jwt.to_owned(), URL_SAFE_NO_PAD.encode(signature)))
}

/// The line after the one that begins a block.
fn block<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = text.lines().map(str::trim);
    let begins = |line: &str| line.starts_with("---") && line.contains(&format!("BEGIN {name}"));
    lines.find(|line| begins(line))?;
    lines.find(|line| !line.is_empty()).filter(|line| !line.starts_with('-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_credentials_has_two_blocks() {
        let text = "-----BEGIN NATS USER JWT-----\nJWT\n------END NATS USER JWT------\n\n*** KEEP\
                    \n-----BEGIN USER NKEY SEED-----\nSEED\n------END USER NKEY SEED------\n";
        assert_eq!(block(text, "NATS USER JWT"), Some("JWT"));
        assert_eq!(block(text, "USER NKEY SEED"), Some("SEED"));
        assert_eq!(block(text, "OTHER"), None);
        assert_eq!(block("-----BEGIN OTHER-----\n------END OTHER------", "OTHER"), None);
    }
}
