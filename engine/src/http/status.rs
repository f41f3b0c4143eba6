//! The statuses that the engine answers with: number, phrase, and the code of a JSON error body.
//! Must not know when one is due.

macro_rules! statuses {
    ($($(#[$doc:meta])* $name:ident = $number:literal $phrase:literal $code:literal,)+) => {
        /// The statuses the engine answers with.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Status { $($(#[$doc])* $name,)+ }

        impl Status {
            /// Every status, in the order of its number.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// The number of the status line.
            #[must_use]
            pub const fn number(self) -> u16 {
                match self { $(Self::$name => $number,)+ }
            }

            /// The words of the status line.
            #[must_use]
            pub const fn phrase(self) -> &'static str {
                match self { $(Self::$name => $phrase,)+ }
            }

            /// The `code` of a JSON error body.
            #[must_use]
            pub const fn error_code(self) -> &'static str {
                match self { $(Self::$name => $code,)+ }
            }
        }
    };
}
statuses! {
    /// The request was served.
    Ok = 200 "OK" "ok",
    /// Begun; it takes its time.
    Accepted = 202 "Accepted" "ok",
    /// Served, with nothing to say.
    NoContent = 204 "No Content" "ok",
    /// The request is malformed or asks for something that does not exist.
    BadRequest = 400 "Bad Request" "bad_request",
    /// A token is needed, or the one presented is none that counts.
    Unauthorised = 401 "Unauthorized" "unauthorised",
    /// The topic is not the client's to use.
    Forbidden = 403 "Forbidden" "forbidden",
    /// No such endpoint.
    NotFound = 404 "Not Found" "not_found",
    /// The endpoint has other methods.
    MethodNotAllowed = 405 "Method Not Allowed" "method_not_allowed",
    /// The endpoint cannot answer in a form the client accepts.
    NotAcceptable = 406 "Not Acceptable" "not_acceptable",
    /// The request took too long to arrive.
    RequestTimeout = 408 "Request Timeout" "timeout",
    /// The body's length is not given.
    LengthRequired = 411 "Length Required" "length_required",
    /// The body is above the limit.
    ContentTooLarge = 413 "Content Too Large" "too_large",
    /// The request target is above the limit.
    UriTooLong = 414 "URI Too Long" "uri_too_long",
    /// The body is of a kind the endpoint does not take.
    UnsupportedMediaType = 415 "Unsupported Media Type" "unsupported_media_type",
    /// An expectation other than `100-continue`.
    ExpectationFailed = 417 "Expectation Failed" "expectation_failed",
    /// The endpoint speaks WebSocket, version 13.
    UpgradeRequired = 426 "Upgrade Required" "upgrade_required",
    /// The client exceeded its rate.
    TooManyRequests = 429 "Too Many Requests" "rate_limited",
    /// The head is above the limit.
    HeadersTooLarge = 431 "Request Header Fields Too Large" "headers_too_large",
    /// The engine failed.
    InternalError = 500 "Internal Server Error" "internal",
    /// A transfer coding other than `chunked`.
    NotImplemented = 501 "Not Implemented" "not_implemented",
    /// Not ready, draining, or full.
    Unavailable = 503 "Service Unavailable" "unavailable",
    /// Neither HTTP/1.0 nor HTTP/1.1.
    VersionNotSupported = 505 "HTTP Version Not Supported" "http_version",
}
