//! The server that a tool talks to. Owns how flags become options of a client, and the runtime
//! beside the tool. Must not know what is said.

use std::future::pending;
use std::io;
use std::thread;

use gridcast_client::link::{Endpoint, LinkOptions, Tls};
use gridcast_client::{Options, Trust};
use tokio::runtime::{Builder, Handle};

use crate::args::ServerArgs;
use crate::output::Failure;

impl ServerArgs {
    /// The options of a client.
    #[must_use]
    pub fn options(&self) -> Options {
        let options = Options::new(&self.url).trust(self.trust());
        if let Some(token) = &self.token {
            return options.token(token);
        }
        let Some(path) = self.token_file.clone() else { return options };
        options.token_from(move || {
            let read = std::fs::read_to_string(&path);
            let shown = path.display().to_string();
            async move {
                let token = read.map_err(|error| format!("{shown}: {error}"))?;
                Ok(token.trim().to_owned())
            }
        })
    }

    /// The token, for a single request.
    ///
    /// # Errors
    /// When its file cannot be read.
    pub fn token(&self) -> Result<Option<String>, Failure> {
        let Some(path) = &self.token_file else { return Ok(self.token.clone()) };
        let read = std::fs::read_to_string(path);
        let read = read.map_err(|e| Failure::Usage(format!("{}: {e}", path.display())))?;
        Ok(Some(read.trim().to_owned()))
    }

    /// How a single request is made.
    ///
    /// # Errors
    /// When the URL is none, or nobody is trusted.
    pub fn link(&self) -> Result<(Endpoint, LinkOptions), Failure> {
        let endpoint = Endpoint::parse(&self.url)?;
        let tls = endpoint.is_tls.then(|| Tls::new(&self.trust())).transpose()?;
        let connect_timeout = std::time::Duration::from_secs(10);
        let message_bytes_max = 16 << 20;
        let token_first = false;
        Ok((endpoint, LinkOptions { tls, token_first, connect_timeout, message_bytes_max }))
    }

    fn trust(&self) -> Trust {
        self.tls_roots.clone().map_or(Trust::Host, Trust::File)
    }
}

/// A runtime on a thread of its own, so that a connection goes on while the tool waits for whoever
/// reads its output.
///
/// # Errors
/// When the system has no thread, or no queue of events.
pub fn runtime() -> io::Result<Handle> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let handle = runtime.handle().clone();
    let name = thread::Builder::new().name("connection".to_owned());
    name.spawn(move || runtime.block_on(pending::<()>()))?;
    Ok(handle)
}
