//! What a running node says of its back-plane, for the command line. Owns one request and how its
//! answer is shown. Must not ask the engine behind the nodes: what this node sees is what its
//! clients feel, and it takes no credentials.

use std::fmt::Write as _;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// How long a node may take to answer.
const ANSWER: Duration = Duration::from_secs(5);
/// Metrics of a node are far shorter.
const ANSWER_BYTES_MAX: u64 = 16 << 20;
const PREFIX: &str = "gridcast_backplane_";

/// What was answered.
#[derive(Debug, PartialEq, Eq)]
pub struct Status {
    /// A line for each figure.
    pub text: String,
    /// Whether the node is connected.
    pub is_up: bool,
}

/// Asks the node at `address`, with a token where it wants one.
///
/// # Errors
/// When it does not answer, refuses, or has no back-plane.
pub fn ask(address: SocketAddr, token: Option<&str>) -> io::Result<Status> {
    let mut stream = TcpStream::connect_timeout(&address, ANSWER)?;
    stream.set_read_timeout(Some(ANSWER))?;
    let token =
        token.map_or_else(String::new, |token| format!("Authorization: Bearer {token}\r\n"));
    let head =
        format!("GET /metrics HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n{token}\r\n");
    stream.write_all(head.as_bytes())?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer)?;
    read(&String::from_utf8_lossy(&answer)).map_err(io::Error::other)
}

fn read(answer: &str) -> Result<Status, String> {
    let status = answer.split(' ').nth(1).unwrap_or_default();
    match status {
        "200" => {}
        "401" | "403" => return Err(format!("the node answered {status}: give --token-file")),
        "" => return Err("no answer in HTTP: with TLS on, set admin.listen".to_owned()),
        other => return Err(format!("the node answered {other}")),
    }
    let figures = answer.lines().filter_map(|line| line.strip_prefix(PREFIX)?.rsplit_once(' '));
    let figures: Vec<(&str, &str)> = figures.collect();
    if figures.is_empty() {
        return Err("this node has no back-plane ([backplane] in its settings)".to_owned());
    }
    let width = figures.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let mut text = String::new();
    for (name, value) in &figures {
        // Writing into memory does not fail.
        let _ = writeln!(text, "{name:width$}  {value}");
    }
    Ok(Status { text, is_up: figures.contains(&("up", "1")) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_shown_one_a_line() {
        let answer = "HTTP/1.1 200 OK\r\n\r\n# HELP gridcast_backplane_up x\n\
                      gridcast_backplane_up 1\ngridcast_other 5\n\
                      gridcast_backplane_gaps_total{reason=\"relay\"} 3\n";
        let status = read(answer).unwrap();
        assert!(status.is_up);
        assert_eq!(status.text, "up                          1\ngaps_total{reason=\"relay\"}  3\n");
        assert!(!read(&answer.replace("up 1", "up 0")).unwrap().is_up);
    }

    #[test]
    fn what_went_wrong_is_said() {
        for (answer, part) in [
            ("HTTP/1.1 401 Unauthorized\r\n\r\n", "--token-file"),
            ("HTTP/1.1 503 Service Unavailable\r\n\r\n", "503"),
            ("HTTP/1.1 200 OK\r\n\r\ngridcast_ready 1\n", "no back-plane"),
            ("\u{15}\u{3}", "TLS"),
        ] {
            let error = read(answer).unwrap_err();
            assert!(error.contains(part), "{answer}: {error}");
        }
    }
}
