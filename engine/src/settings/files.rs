//! Reads the files that settings name: certificates, keys, tokens. Owns the bound on their size,
//! and how it is said that one cannot be used. Must not understand what they hold.

use std::fmt::Display;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use crate::settings::layers::SettingsError;

/// The largest of them: what systems ship as authorities has a quarter of that.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// The content of the file that the setting `key` names.
///
/// # Errors
/// What the system says, or that the file is far larger than any such file.
pub fn read(key: &str, path: &Path) -> Result<Vec<u8>, SettingsError> {
    let mut bytes = Vec::new();
    let file = File::open(path);
    match file.and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)) {
        Ok(_) if bytes.len() as u64 > FILE_BYTES_MAX => {
            let fault = format!("larger than {FILE_BYTES_MAX} bytes: is it the right file?");
            Err(unusable(key, path, fault))
        }
        Ok(_) => Ok(bytes),
        Err(error) => Err(unusable(key, path, format!("cannot be read: {error}"))),
    }
}

/// As [`read`], without the line break that editors end a file with: it is not part of a secret.
///
/// # Errors
/// As [`read`].
pub fn read_secret(key: &str, path: &Path) -> Result<Vec<u8>, SettingsError> {
    let mut bytes = read(key, path)?;
    for end in [b'\n', b'\r'] {
        bytes.pop_if(|last| *last == end);
    }
    Ok(bytes)
}

/// Says that the file which the setting `key` names cannot be used. `fault` tells no secret.
pub fn unusable(key: &str, path: &Path, fault: impl Display) -> SettingsError {
    SettingsError(vec![format!("{key} = \"{}\": {fault}", path.display())])
}
