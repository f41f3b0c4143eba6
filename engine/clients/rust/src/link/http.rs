//! Plain requests, one after the other, over a connection that is kept between them. Must not know
//! what is asked for.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{
    ACCEPT, AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderValue, RETRY_AFTER,
};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::time::timeout;

use super::connection::LinkOptions;
use super::dial::dial;
use super::ending::Ending;
use super::endpoint::Endpoint;

/// What is read of a refusal: it holds at most a reason.
const REFUSAL_BYTES_MAX: usize = 64 << 10;

/// One request.
#[derive(Clone, Debug)]
pub struct Ask {
    method: Method,
    /// Behind the base of the endpoint, with its query.
    path: String,
    accept: &'static str,
    body: Option<(&'static str, Bytes)>,
}

impl Ask {
    /// Asks for `path`, as `accept`.
    #[must_use]
    pub fn get(path: String, accept: &'static str) -> Self {
        Self { method: Method::GET, path, accept, body: None }
    }

    /// Hands `body` over to `path`.
    #[must_use]
    pub fn post(path: String, content_type: &'static str, body: Bytes) -> Self {
        let body = Some((content_type, body));
        Self { method: Method::POST, path, accept: "application/json", body }
    }
}

/// See the file header.
pub struct Http {
    endpoint: Endpoint,
    link: LinkOptions,
    token: Option<String>,
    sender: Option<SendRequest<Full<Bytes>>>,
}

impl Http {
    /// Nothing is connected yet.
    #[must_use]
    pub fn new(endpoint: Endpoint, link: LinkOptions, token: Option<String>) -> Self {
        Self { endpoint, link, token, sender: None }
    }

    /// Connects, unless it is; answers whether it was.
    ///
    /// # Errors
    /// There is no connection.
    pub async fn connect(&mut self) -> Result<bool, Ending> {
        if let Some(sender) = &mut self.sender
            && sender.ready().await.is_ok()
        {
            return Ok(true);
        }
        self.sender = None;
        let within = self.link.connect_timeout;
        let connecting = dial(&self.endpoint, self.link.tls.as_ref());
        let stream = timeout(within, connecting).await.map_err(|_| self.late(within))?;
        let stream = stream.map_err(|error| self.lost(&error))?;
        let (sender, connection) =
            handshake(TokioIo::new(stream)).await.map_err(|error| self.lost(&error))?;
        // It ends with the sender, and says through that why.
        tokio::spawn(async move { connection.await.unwrap_or_default() });
        self.sender = Some(sender);
        Ok(false)
    }

    /// The body of the answer, where that is 200; `bytes_max` bounds it.
    ///
    /// # Errors
    /// No answer in time, or another: `status`, `code` and `reason` say which.
    pub async fn answer(
        &mut self,
        ask: &Ask,
        within: Duration,
        bytes_max: usize,
    ) -> Result<Bytes, Ending> {
        let reading = async {
            let body = self.taken(ask).await?.into_body();
            let body = Limited::new(body, bytes_max).collect().await;
            body.map_err(|error| match error.downcast_ref::<LengthLimitError>() {
                Some(_) => Ending::too_large(format!("an answer of more than {bytes_max} bytes")),
                None => self.lost(&*error),
            })
        };
        let read = timeout(within, reading).await;
        let body = read.unwrap_or_else(|_| Err(self.late(within))).inspect_err(|ending| {
            tracing::trace!(reason = ending.reason, "no answer");
        });
        // What is not read to its end cannot be asked anything more.
        body.map(http_body_util::Collected::to_bytes).inspect_err(|_| self.sender = None)
    }

    /// The answer as it comes, where that is 200.
    ///
    /// # Errors
    /// As [`answer`](Self::answer).
    pub async fn stream(&mut self, ask: &Ask, within: Duration) -> Result<Incoming, Ending> {
        let taken = timeout(within, self.taken(ask)).await;
        Ok(taken.map_err(|_| self.late(within))??.into_body())
    }

    async fn taken(&mut self, ask: &Ask) -> Result<Response<Incoming>, Ending> {
        let response = self.sent(ask).await?;
        if response.status() == StatusCode::OK {
            return Ok(response);
        }
        let (head, body) = response.into_parts();
        let body = Limited::new(body, REFUSAL_BYTES_MAX).collect().await;
        // A reason that is cut off or too long says nothing: the status does.
        let body = body.map(http_body_util::Collected::to_bytes).unwrap_or_default();
        let retry_after = head.headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok());
        Err(Ending::of_answer(head.status.as_u16(), &body, retry_after))
    }

    /// Sends a request. A connection that was kept may end just then: what it surely has not taken
    /// is sent over another.
    async fn sent(&mut self, ask: &Ask) -> Result<Response<Incoming>, Ending> {
        let was_kept = self.connect().await?;
        match self.send(ask).await? {
            Ok(response) => Ok(response),
            Err(error) if was_kept && (ask.method == Method::GET || error.is_canceled()) => {
                self.sender = None;
                self.connect().await?;
                self.send(ask).await?.map_err(|error| self.lost(&error))
            }
            Err(error) => Err(self.lost(&error)),
        }
    }

    async fn send(&mut self, ask: &Ask) -> Result<hyper::Result<Response<Incoming>>, Ending> {
        let request = self.request(ask).map_err(|error| Ending::for_good(error.to_string()))?;
        match &mut self.sender {
            Some(sender) => Ok(sender.send_request(request).await),
            None => Err(Ending::lost("no connection")),
        }
    }

    fn request(&self, ask: &Ask) -> Result<Request<Full<Bytes>>, hyper::http::Error> {
        let path = self.endpoint.path(&ask.path);
        let mut request = Request::builder().method(&ask.method).uri(path);
        request = request.header(HOST, self.endpoint.to_string()).header(ACCEPT, ask.accept);
        if let Some(token) = &self.token {
            let mut bearer = HeaderValue::try_from(format!("Bearer {token}"))?;
            bearer.set_sensitive(true);
            request = request.header(AUTHORIZATION, bearer);
        }
        if let Some((content_type, body)) = &ask.body {
            // Of an empty body nothing is said otherwise.
            request = request.header(CONTENT_LENGTH, body.len());
            request = request.header(CONTENT_TYPE, *content_type);
        }
        let body = ask.body.as_ref().map(|(_, body)| body.clone()).unwrap_or_default();
        request.body(Full::new(body))
    }

    fn lost(&self, error: &(impl std::fmt::Display + ?Sized)) -> Ending {
        Ending::lost(format!("no answer of {}: {error}", self.endpoint))
    }

    fn late(&self, within: Duration) -> Ending {
        self.lost(&format!("none within {} s", within.as_secs_f64()))
    }
}

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
    let mut http = Http::new(endpoint.clone(), options.clone(), token.map(str::to_owned));
    let ask = Ask::get(path.to_owned(), "*/*");
    let body = http.answer(&ask, options.connect_timeout, options.message_bytes_max).await;
    let body = body.map_err(|ending| match ending.status {
        Some(status) => Ending { reason: format!("{status}: {}", ending.reason), ..ending },
        None => ending,
    })?;
    String::from_utf8(body.into()).map_err(|_| Ending::lost("the answer is no text"))
}
