//! The settings that every `[[bridge]]` has. Owns their defaults and what must hold between them.
//! Must not know the settings of a kind.

use std::path::{Path, PathBuf};
use std::{fs, io};

use gridcast::feed::topic::Target;

use crate::bridge::mapping::Mapping;
use crate::table::Reader;

/// What every bridge says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Common {
    /// Its name, in logs and metrics; unique.
    pub name: String,
    /// Which system is on the other side.
    pub kind: String,
    /// Where that is.
    pub url: String,
    /// What is read there, in the syntax of the other side.
    pub inputs: Vec<String>,
    /// The topics and patterns that are sent there.
    pub outputs: Vec<Target>,
    /// How names that come in are mapped to topics.
    pub map_in: Mapping,
    /// How topics are mapped to names that go out.
    pub map_out: Mapping,
    /// Who this engine is there.
    pub credentials: Credentials,
}

/// Who a bridge says it is. Secrets stand in files, so that no print of settings has them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Credentials {
    /// The user; none where nothing is asked.
    pub user: Option<String>,
    /// The file of the password.
    pub password_file: Option<PathBuf>,
    /// The file of a token.
    pub token_file: Option<PathBuf>,
    /// The authorities that the other side's certificate may be of, PEM; the host's where none.
    pub ca_file: Option<PathBuf>,
}

impl Common {
    /// Takes the common keys out of a table.
    ///
    /// # Errors
    /// What is missing, wrong, or of another type.
    pub fn take(reader: &mut Reader) -> Result<Self, String> {
        let outputs: Vec<String> = reader.take("out")?.unwrap_or_default();
        let outputs = outputs.iter().map(|text| {
            text.parse().map_err(|error| reader.wrong("out", &format!("`{text}`: {error}")))
        });
        let outputs = outputs.collect::<Result<_, _>>()?;
        Ok(Self {
            name: reader.need("name")?,
            kind: reader.need("kind")?,
            url: reader.need("url")?,
            inputs: reader.take("in")?.unwrap_or_default(),
            outputs,
            map_in: reader.take("map_in")?.unwrap_or_default(),
            map_out: reader.take("map_out")?.unwrap_or_default(),
            credentials: Credentials::take(reader)?,
        })
    }

    /// The part of the URL that names user, host and port.
    #[must_use]
    pub fn url_authority(&self) -> &str {
        let rest = self.url.split_once("://").map_or("", |(_, rest)| rest);
        rest.split(['/', '?', '#']).next().unwrap_or_default()
    }

    /// Checks that the URL holds no password: it would be printed with the settings. A user may
    /// stand there.
    ///
    /// # Errors
    /// Where it belongs.
    pub fn refuse_password_in_url(&self) -> Result<(), String> {
        match self.url_authority().rsplit_once('@') {
            Some((user, _)) if user.contains(':') => {
                Err("url: a password stands in `password_file`, not in it".to_owned())
            }
            _ => Ok(()),
        }
    }
}

impl Credentials {
    /// Takes the keys out of a table.
    ///
    /// # Errors
    /// When one is of another type.
    pub fn take(reader: &mut Reader) -> Result<Self, String> {
        Ok(Self {
            user: reader.take("user")?,
            password_file: reader.take("password_file")?,
            token_file: reader.take("token_file")?,
            ca_file: reader.take("ca_file")?,
        })
    }

    /// The password, read now; none where no file is named.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn password(&self) -> io::Result<Option<String>> {
        self.password_file.as_deref().map(read_secret).transpose()
    }

    /// The token, read now; none where no file is named.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn token(&self) -> io::Result<Option<String>> {
        self.token_file.as_deref().map(read_secret).transpose()
    }
}

/// A file's text without the line end that editors leave.
fn read_secret(path: &Path) -> io::Result<String> {
    let text = fs::read_to_string(path).map_err(|error| {
        io::Error::new(error.kind(), format!("cannot read {}: {error}", path.display()))
    })?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}
