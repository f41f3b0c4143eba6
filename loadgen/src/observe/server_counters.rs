//! The measured server's own counters: a few values of its metrics page, before and after. A server
//! without such a page has no counters. Must not judge them.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::os::tls::TlsClient;
use crate::plan::plan::Plan;

/// Counters by name, without prefix and suffix.
pub type Counters = BTreeMap<&'static str, u64>;

/// The address of the page.
#[derive(Debug, Clone)]
pub struct CounterPage {
    target: SocketAddr,
    request: String,
    tls: Option<TlsClient>,
}

impl CounterPage {
    /// The metrics page of a plan's server.
    pub fn of(plan: &Plan) -> CounterPage {
        let authorization = plan
            .token
            .as_ref()
            .map_or_else(String::new, |token| format!("Authorization: Bearer {token}\r\n"));
        let host = &plan.host;
        let request = format!(
            "GET /metrics HTTP/1.1\r\nHost: {host}\r\n{authorization}\
             Accept: application/openmetrics-text\r\nConnection: close\r\n\r\n"
        );
        // If a TLS client cannot be created, the run itself fails and reports the reason.
        let tls = plan.tls.as_ref().and_then(|tls| TlsClient::new(tls).ok());
        CounterPage { target: plan.target, request, tls }
    }

    /// The current counters; `None` if the server provides none.
    pub fn read(&self) -> Option<Counters> {
        let text = self.fetch();
        match text {
            Ok(text) if text.starts_with("HTTP/1.1 200") => Some(counters(&text)),
            Ok(_) => None,
            Err(error) => {
                tracing::debug!(%error, "the server serves no counters");
                None
            }
        }
    }

    fn fetch(&self) -> io::Result<String> {
        let mut socket = TcpStream::connect_timeout(&self.target, PATIENCE)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.set_write_timeout(Some(PATIENCE))?;
        match &self.tls {
            None => exchange(&mut socket, &self.request),
            Some(client) => {
                let mut session = client.session().map_err(io::Error::other)?;
                exchange(&mut rustls::Stream::new(&mut session, &mut socket), &self.request)
            }
        }
    }
}

/// The difference of two readings.
pub fn between(from: &Counters, to: &Counters) -> Counters {
    let grown = |(name, now): (&&'static str, &u64)| {
        let before = from.get(name).copied().unwrap_or(0);
        (*name, now.saturating_sub(before))
    };
    to.iter().map(grown).collect()
}

fn exchange(stream: &mut (impl Read + Write), request: &str) -> io::Result<String> {
    stream.write_all(request.as_bytes())?;
    let mut page = Vec::new();
    let mut piece = [0; 4096];
    // A keep-alive server does not close the connection, so the page also ends at its end mark.
    while page.len() < PAGE_BYTES_MAX && !page.ends_with(PAGE_END) {
        match stream.read(&mut piece) {
            Ok(0) => break,
            Ok(read) => page.extend_from_slice(piece.get(..read).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => break,
            Err(error) => return Err(error),
        }
    }
    Ok(String::from_utf8_lossy(&page).into_owned())
}

/// Counters that differ only in labels are added up.
fn counters(page: &str) -> Counters {
    let mut found = Counters::new();
    for line in page.lines() {
        let Some((series, value)) = line.rsplit_once(' ') else { continue };
        let name = series.split('{').next().unwrap_or_default();
        let name = name.strip_prefix("gridcast_").and_then(|name| name.strip_suffix("_total"));
        let known = NAMES.into_iter().find(|known| name == Some(*known));
        if let (Some(known), Ok(value)) = (known, value.trim().parse::<u64>()) {
            *found.entry(known).or_default() += value;
        }
    }
    found
}

const NAMES: [&str; 9] = [
    "publishes",
    "encodes",
    "deflates",
    "writes",
    "writes_blocked",
    "frames_sent",
    "sent_bytes",
    "frames_conflated",
    "gap_frames",
];
const PATIENCE: Duration = Duration::from_secs(1);
const PAGE_BYTES_MAX: usize = 1 << 20;
const PAGE_END: &[u8] = b"# EOF\n";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures;
    use std::net::TcpListener;
    use std::thread;

    const PAGE: &str = "# TYPE gridcast_deflates counter\ngridcast_deflates_total 7\n\
                        gridcast_gap_frames_total{reason=\"lagged\"} 2\n\
                        gridcast_gap_frames_total{reason=\"conflated\"} 3\n\
                        gridcast_unknown_total 9\ngridcast_encodes_total x\n# EOF\n";

    fn served(status: &'static str) -> Option<Counters> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let target = listener.local_addr().unwrap();
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut head = Vec::new();
            let mut byte = [0];
            while !head.ends_with(b"\r\n\r\n") {
                stream.read_exact(&mut byte).unwrap();
                head.push(byte[0]);
            }
            write!(stream, "HTTP/1.1 {status}\r\n\r\n{PAGE}").unwrap();
            String::from_utf8(head).unwrap()
        });
        let token = Some("k3y".to_owned());
        let plan = Plan { target, token, ..fixtures::plan_of(vec![]) };
        let counters = CounterPage::of(&plan).read();
        assert!(server.join().unwrap().contains("Authorization: Bearer k3y\r\n"));
        counters
    }

    #[test]
    fn known_counters_are_read_and_added_up() {
        let counters = served("200 OK").unwrap();
        assert_eq!(counters, Counters::from([("deflates", 7), ("gap_frames", 5)]));
        assert_eq!(served("401 Unauthorized"), None);
    }

    #[test]
    fn what_was_counted_is_the_difference() {
        let from = Counters::from([("deflates", 5)]);
        let to = Counters::from([("deflates", 7), ("gap_frames", 1)]);
        let grown = Counters::from([("deflates", 2), ("gap_frames", 1)]);
        assert_eq!(between(&from, &to), grown);
    }
}
