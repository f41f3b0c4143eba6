//! One small GET over a connection of its own, as for `/metrics`. Must not know what is asked for.

use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::connection::LinkOptions;
use super::dial::{Heard, dial};
use super::ending::Ending;
use super::endpoint::Endpoint;

/// The body of what `path` (`/metrics`) answers, as text; `message_bytes_max` bounds it.
///
/// # Errors
/// No answer in time, or one that is no 200: `status` says which, `reason` why.
pub async fn get(
    endpoint: &Endpoint,
    path: &str,
    token: Option<&str>,
    options: &LinkOptions,
) -> Result<String, Ending> {
    let asking = async {
        let mut stream = dial(endpoint, options.tls.as_ref()).await?;
        stream.write_all(head(endpoint, path, token).as_bytes()).await?;
        stream.flush().await?;
        read(stream, options.message_bytes_max as u64).await
    };
    let lost = |text: String| Ending::lost(format!("no answer of {endpoint}: {text}"));
    match timeout(options.connect_timeout, asking).await {
        Ok(Ok(answer)) => body(&answer),
        Ok(Err(error)) => Err(lost(error.to_string())),
        Err(_) => Err(lost(format!("none within {} s", options.connect_timeout.as_secs_f64()))),
    }
}

fn head(endpoint: &Endpoint, path: &str, token: Option<&str>) -> String {
    let path = endpoint.path(path);
    // What is no header value would be another header.
    let token = token.filter(|token| token.bytes().all(|byte| byte.is_ascii_graphic()));
    let token = token.map_or_else(String::new, |t| format!("Authorization: Bearer {t}\r\n"));
    format!("GET {path} HTTP/1.1\r\nHost: {endpoint}\r\nConnection: close\r\n{token}\r\n")
}

async fn read(stream: Heard, bytes_max: u64) -> io::Result<String> {
    let mut answer = Vec::new();
    stream.take(bytes_max).read_to_end(&mut answer).await?;
    String::from_utf8(answer).map_err(|_| io::Error::other("it is no text"))
}

fn body(answer: &str) -> Result<String, Ending> {
    let wrong = || Ending::lost("the answer is not HTTP/1.1");
    let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(wrong)?;
    let status = head.strip_prefix("HTTP/1.").and_then(|rest| rest.split(' ').nth(1));
    let status: u16 = status.and_then(|status| status.parse().ok()).ok_or_else(wrong)?;
    if status == 200 {
        return Ok(body.to_owned());
    }
    let told = serde_json::from_str::<serde_json::Value>(body).unwrap_or_default();
    let reason = told["error"]["message"].as_str().unwrap_or("refused").to_owned();
    Err(Ending::of_status(status, &format!("{status}: {reason}"), None))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_its_body_or_the_reason_why_not() {
        assert_eq!(body("HTTP/1.1 200 OK\r\nA: b\r\n\r\nx y").unwrap(), "x y");
        let refused = "HTTP/1.1 403 No\r\n\r\n{\"error\":{\"message\":\"off here\"}}";
        let refused = body(refused).unwrap_err();
        assert_eq!((refused.status, &*refused.reason), (Some(403), "403: off here"));
        for wrong in ["", "HTTP/1.1 200 OK", "SSH-2.0\r\n\r\n"] {
            assert!(body(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_token_adds_no_header_but_its_own() {
        let endpoint = Endpoint::parse("ws://h/base").unwrap();
        let head = head(&endpoint, "/metrics", Some("a\r\nX: y"));
        assert!(head.starts_with("GET /base/metrics HTTP/1.1\r\n") && !head.contains("X: y"));
    }
}
