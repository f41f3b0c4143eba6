//! Finds the token in a request (header, query or cookie) and takes it out, so that nothing logs
//! it. Owns the rule that there is at most one. Must not judge the token.

use crate::auth::denied::Denied;
use crate::http::request::Request;
use percent_encoding::percent_decode_str;

/// The option of a query that holds a token.
const OPTION: &str = "token";

/// What a client shows of itself.
pub type Presented = Result<Credentials, Denied>;

/// A token as it was sent; nobody sees it by printing this.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials(String);

impl Credentials {
    /// Takes the token out of a request, so that nothing that tells of the request tells it. The
    /// cookie counts only where no other place has one: browsers send it unasked.
    ///
    /// # Errors
    /// [`Denied::Missing`] or [`Denied::Malformed`].
    pub fn take(request: &mut Request, cookie: &str) -> Presented {
        let in_query = take_option(&mut request.query)?;
        let in_header = request.headers.authorization.take().map(|value| authorization(&value));
        let in_cookie = cookie_of(request.headers.cookie.take(), cookie);
        match (in_header, in_query, in_cookie) {
            (Some(Authorization::Bearer(_)), Some(_), _) => {
                Err(Denied::Malformed("a token in Authorization or in ?token=, not in both"))
            }
            (Some(Authorization::Bearer(in_header)), None, _) => in_header,
            (_, Some(in_query), _) => Ok(Self(in_query)),
            (_, None, Some(in_cookie)) => Ok(Self(in_cookie)),
            (Some(Authorization::Other), None, None) => {
                Err(Denied::Malformed("Authorization is written: Bearer {token}"))
            }
            (None, None, None) => Err(Denied::Missing),
        }
    }

    /// The token.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Credentials(***)")
    }
}

/// What an `Authorization` header says.
enum Authorization {
    /// For the engine.
    Bearer(Presented),
    /// Of another scheme: for somebody in between, such as a proxy that asks for a password.
    Other,
}

fn authorization(header: &str) -> Authorization {
    let (scheme, token) = header.split_once(' ').unwrap_or((header, ""));
    if !scheme.eq_ignore_ascii_case("Bearer") {
        return Authorization::Other;
    }
    Authorization::Bearer(match token.trim() {
        "" => Err(Denied::Malformed("Authorization is written: Bearer {token}")),
        token => Ok(Credentials(token.to_owned())),
    })
}

/// Cuts `token=…` out of a query.
fn take_option(query: &mut Option<String>) -> Result<Option<String>, Denied> {
    let is_token = |part: &&str| part.split('=').next() == Some(OPTION);
    let Some(text) = query.as_deref() else { return Ok(None) };
    let mut tokens = text.split('&').filter(is_token);
    let Some(first) = tokens.next() else { return Ok(None) };
    let is_doubled = tokens.next().is_some();
    let encoded = first.split_once('=').map_or("", |(_, value)| value);
    let token = percent_decode_str(encoded).decode_utf8().map(|token| token.into_owned());
    let rest: Vec<&str> = text.split('&').filter(|part| !is_token(part)).collect();
    *query = (!rest.is_empty()).then(|| rest.join("&"));
    match token {
        Ok(_) if is_doubled => Err(Denied::Malformed("option `token` twice")),
        Ok(token) => Ok(Some(token)),
        Err(_) => Err(Denied::Malformed("option `token` is not UTF-8")),
    }
}

fn cookie_of(header: Option<String>, name: &str) -> Option<String> {
    let header = header.filter(|_| !name.is_empty())?;
    let mut pairs = header.split(';').filter_map(|pair| pair.trim().split_once('='));
    let (_, value) = pairs.find(|(key, _)| *key == name)?;
    Some(value.trim_matches('"').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(target: &str, headers: &str, cookie: &str) -> (Result<String, Denied>, Request) {
        let text = format!("GET {target} HTTP/1.1\r\nHost: h\r\n{headers}\r\n");
        let (mut request, _) = Request::parse(text.as_bytes(), 4096).unwrap().unwrap();
        let presented = Credentials::take(&mut request, cookie);
        (presented.map(|credentials| credentials.reveal().to_owned()), request)
    }

    #[test]
    fn every_place_is_looked_at_and_emptied() {
        for (target, headers, cookie) in [
            ("/v1/feed/a", "Authorization: bearer  a.b-c\r\n", ""),
            ("/v1/feed/a?token=a.b-c", "", ""),
            ("/v1/feed/a?token=a%2eb%2Dc", "Cookie: gridcast=other\r\n", "gridcast"),
            ("/v1/feed/a", "Cookie: x=y; gridcast=a.b-c\r\n", "gridcast"),
            ("/v1/feed/a", "Cookie: gridcast=\"a.b-c\"; x=y\r\n", "gridcast"),
        ] {
            let (token, request) = taken(target, headers, cookie);
            assert_eq!(token.as_deref(), Ok("a.b-c"), "{target} {headers}");
            assert!(!format!("{request:?}").contains("b-c"), "{request:?}");
        }
    }

    #[test]
    fn only_a_bearer_competes() {
        for scheme in ["Basic dTpw", "Digest x=\"y\"", "Negotiate", ""] {
            let header = format!("Authorization: {scheme}\r\n");
            assert_eq!(taken("/?token=x", &header, "").0, Ok("x".into()), "{scheme}");
            let both = format!("{header}Cookie: other=1\r\nCookie: gridcast=y\r\n");
            assert_eq!(taken("/", &both, "gridcast").0, Ok("y".into()), "{scheme}");
        }
    }

    #[test]
    fn other_options_stay() {
        for (query, rest) in [
            ("from=last&token=x&mode=latest", Some("from=last&mode=latest")),
            ("token=x", None),
            ("tokens=x", Some("tokens=x")),
        ] {
            let (_, request) = taken(&format!("/v1/feed/a?{query}"), "", "");
            assert_eq!(request.query.as_deref(), rest);
        }
    }

    #[test]
    fn what_is_no_token_is_told_apart_from_none() {
        let both = "Authorization: Bearer x\r\n";
        for (target, headers, expected) in [
            ("/", "", "a token is needed"),
            ("/", "Cookie: gridcast=x\r\n", "a token is needed"),
            ("/", "Authorization: Basic x\r\n", "Authorization is written: Bearer {token}"),
            ("/", "Authorization: Bearer\r\n", "Authorization is written"),
            ("/?token=x", both, "not in both"),
            ("/?token=x&token=y", "", "option `token` twice"),
            ("/?token=%FF", "", "not UTF-8"),
        ] {
            let error = taken(target, headers, "").0.unwrap_err().to_string();
            assert!(error.contains(expected), "{target} {headers}: {error}");
        }
    }
}
