//! A connection to an InfluxDB server: HTTP/1.1, one write at a time. Owns the request around the
//! lines of a batch. Must not know messages.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{AUTHORIZATION, HOST, HeaderValue};
use hyper::{Request, Response, body::Incoming};
use hyper_util::rt::TokioIo;
use tokio::time::timeout;

use crate::bridge::dial::{Address, Scheme};
use crate::bridge::settings::Common;
use crate::bridge::supervisor::SessionError;
use crate::influx::rows::Line;
use crate::influx::settings::Target;
use crate::influx::verdict::{self, Verdict};
use crate::store::writer::{Store, Written};

/// How long the first answer may take.
const ANSWER_TIME: Duration = Duration::from_secs(10);
/// What is read of an answer: it holds at most a reason.
const ANSWER_BYTES_MAX: usize = 64 << 10;

/// What addresses begin with.
pub const SCHEMES: [Scheme; 2] = [
    Scheme { name: "http", port: 8086, is_tls: false },
    Scheme { name: "https", port: 8086, is_tls: true },
];

/// A connected server.
pub struct Client {
    sender: SendRequest<Full<Bytes>>,
    path: String,
    host: HeaderValue,
    authorization: Option<HeaderValue>,
}

impl Client {
    /// Connects and asks for an empty write, which names a missing database or wrong credentials
    /// before there is anything to lose.
    ///
    /// # Errors
    /// Why it cannot be written to.
    pub async fn connect(common: &Common, target: &Target) -> Result<Self, SessionError> {
        let address = Address::parse(&common.url, &SCHEMES)
            .map_err(|error| SessionError::new("settings", error))?;
        let authorization = authorization(common, target.is_v2)
            .map_err(|error| SessionError::new("credentials", error))?;
        let host = HeaderValue::from_str(&address.to_string())
            .map_err(|error| SessionError::new("settings", error))?;
        let stream = address.dial(common.credentials.ca_file.as_deref()).await?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| SessionError::new("connect", error))?;
        // It ends with the sender, or says why through it.
        tokio::task::spawn_local(async move { connection.await.unwrap_or_default() });
        let mut client = Self { sender, path: target.path.clone(), host, authorization };
        timeout(ANSWER_TIME, client.try_out()).await.map_err(|_| too_slow())??;
        Ok(client)
    }

    async fn try_out(&mut self) -> Result<(), SessionError> {
        match self.post(Bytes::new()).await? {
            // 2.x says that a write without points is none: then it has found the bucket.
            Verdict::Stored | Verdict::Refused(_) | Verdict::TooLarge => Ok(()),
            Verdict::Denied(reason) => Err(SessionError::new("credentials", reason)),
            Verdict::Failed(reason) => Err(SessionError::new("refused", reason)),
        }
    }

    async fn post(&mut self, body: Bytes) -> Result<Verdict, SessionError> {
        let mut request = Request::post(&self.path).header(HOST, &self.host);
        if let Some(authorization) = &self.authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        let request = request.body(Full::new(body));
        let request = request.map_err(|error| SessionError::new("settings", error))?;
        self.sender.ready().await.map_err(lost)?;
        let answer: Response<Incoming> = self.sender.send_request(request).await.map_err(lost)?;
        let status = answer.status().as_u16();
        let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await;
        let body = body.map_err(|error| SessionError::new("protocol", error))?.to_bytes();
        Ok(verdict::of(status, &body))
    }
}

impl Store<Line> for Client {
    async fn write(&mut self, rows: &[Line]) -> Result<Written, SessionError> {
        let bytes = rows.iter().map(|line| line.text.len()).sum();
        let mut body = Vec::with_capacity(bytes);
        rows.iter().for_each(|line| body.extend_from_slice(&line.text));
        match self.post(body.into()).await? {
            Verdict::Stored => Ok(Written::Stored),
            Verdict::Refused(reason) => Ok(Written::Refused(reason)),
            Verdict::TooLarge => Ok(Written::Refused("larger than the server takes".to_owned())),
            Verdict::Denied(reason) => Err(SessionError::new("credentials", reason)),
            Verdict::Failed(reason) => Err(SessionError::new("refused", reason)),
        }
    }
}

/// `Basic` of user and password in 1.x, `Token` in 2.x and where a file of one is named.
fn authorization(common: &Common, is_v2: bool) -> Result<Option<HeaderValue>, String> {
    let credentials = &common.credentials;
    let token = credentials.token().map_err(|error| error.to_string())?;
    let password = credentials.password().map_err(|error| error.to_string())?;
    let text = match (token, &credentials.user) {
        (Some(token), _) => format!("Token {token}"),
        (None, Some(user)) if !is_v2 => {
            let pair = format!("{user}:{}", password.unwrap_or_default());
            format!("Basic {}", STANDARD.encode(pair))
        }
        _ => return Ok(None),
    };
    let mut value = HeaderValue::try_from(text)
        .map_err(|_| "the token or password has characters that HTTP does not carry".to_owned())?;
    value.set_sensitive(true);
    Ok(Some(value))
}

fn lost(error: hyper::Error) -> SessionError {
    SessionError::new("closed", error)
}

fn too_slow() -> SessionError {
    let message = format!("no answer within {} s", ANSWER_TIME.as_secs());
    SessionError::new("connect", message)
}
