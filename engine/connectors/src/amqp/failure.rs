//! What ends a session with a broker, in the words of bridges. Must not decide what follows.

use crate::bridge::supervisor::SessionError;

/// What ended a connection.
pub fn lost(error: lapin::Error) -> SessionError {
    SessionError::new("closed", error)
}
