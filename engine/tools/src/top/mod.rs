//! `gridcast top`: a live table of what a server does, from its status and metrics. Owns when it
//! looks. Must not know how the numbers are shown.

mod sample;
mod table;

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::time::Duration;

use gridcast_client::link::{self, Endpoint, LinkOptions};
use gridcast_client::{Clock, SystemClock};

use crate::args::TopArgs;
use crate::output::{self, Failure};
use crate::{interrupt, server};
use sample::Sample;

/// Clears the screen, and begins at its top.
const CLEAR: &str = "\x1b[H\x1b[2J";

/// Looks until it is told to stop; once in a pipe.
///
/// # Errors
/// Why the server does not answer.
pub fn run(args: &TopArgs) -> Result<ExitCode, Failure> {
    let (endpoint, options) = args.server.link()?;
    let runtime = server::runtime()?;
    let mut interrupted = interrupt::first()?;
    let is_live = io::stdout().is_terminal() && !args.once;
    let every = Duration::from_secs(args.every);
    runtime.block_on(async {
        let mut before = look(&endpoint, &options, args).await?;
        loop {
            tokio::select! {
                () = tokio::time::sleep(every) => {}
                _ = &mut interrupted => return Ok(interrupt::code()),
            }
            let now = look(&endpoint, &options, args).await?;
            let shown = table::render(&endpoint.to_string(), &before, &now);
            if !is_live {
                output::all(&shown)?;
                return Ok(ExitCode::SUCCESS);
            }
            let mut out = io::stdout().lock();
            out.write_all(format!("{CLEAR}{shown}").as_bytes())?;
            out.flush()?;
            before = now;
        }
    })
}

async fn look(
    endpoint: &Endpoint,
    options: &LinkOptions,
    args: &TopArgs,
) -> Result<Sample, Failure> {
    let token = args.server.token()?;
    let failed = |text: String| {
        let hint = "set admin.listen and give its address as --url, or a token that may administer";
        Failure::Failed(format!("{text}\n  ({hint})"))
    };
    let get = |path| link::get(endpoint, path, token.as_deref(), options);
    let status = get("/v1/admin/status").await.map_err(|ending| failed(ending.reason))?;
    let metrics = get("/metrics").await.map_err(|ending| failed(ending.reason))?;
    Sample::read(SystemClock::default().wall(), &status, &metrics).map_err(failed)
}
