//! Cross-origin requests: whether the page that a request comes from may use the engine, and the
//! headers that tell its browser. Must not know which endpoints ask (that is `core`).

use crate::http::refusal::Refusal;
use crate::http::status::Status;
use crate::settings::origins::Origins;

/// What a browser is told about the page that asks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Cors {
    /// No page asks.
    #[default]
    None,
    /// Every page may read the answer.
    Any,
    /// This page may, and its cookies may come along.
    Page(Box<str>),
}

impl Cors {
    /// Judges the `Origin` of a request, which only browsers send, by the list of pages.
    ///
    /// # Errors
    /// 403 for a page that is not listed.
    pub fn admit(listed: &Origins, origin: Option<&str>) -> Result<Self, Refusal> {
        let Some(origin) = origin else { return Ok(Self::None) };
        if listed.is_any() {
            return Ok(Self::Any);
        }
        if listed.lists(origin) {
            return Ok(Self::Page(origin.into()));
        }
        let message = "pages of this origin may not use the engine (security.origins)";
        Err(Refusal::new(Status::Forbidden, message))
    }

    /// What a browser is told about the page whose request is not whole, or is none: as far as its
    /// head shows which page that is.
    #[must_use]
    pub fn admit_unread(listed: &Origins, head: &[u8]) -> Self {
        let mut lines = head.split(|&b| b == b'\n');
        let origin = lines.find_map(|line| {
            let (name, value) = line.split_at_checked(NAME.len())?;
            name.eq_ignore_ascii_case(NAME).then_some(value)
        });
        match origin.map(String::from_utf8_lossy) {
            Some(origin) => Self::admit(listed, Some(origin.trim())).unwrap_or_default(),
            None if listed.is_any() => Self::Any,
            None => Self::None,
        }
    }

    /// The header lines; none where no page asks.
    #[must_use]
    pub fn headers(&self) -> String {
        let page = match self {
            Self::None => return String::new(),
            Self::Any => "Access-Control-Allow-Origin: *\r\n".to_owned(),
            Self::Page(page) => format!(
                "Access-Control-Allow-Origin: {page}\r\nAccess-Control-Allow-Credentials: true\r\n"
            ),
        };
        page + "Access-Control-Expose-Headers: Retry-After\r\nVary: Origin\r\n"
    }

    /// The header lines that answer the question before a request with `methods`.
    #[must_use]
    pub fn preflight(&self, methods: &str) -> String {
        if *self == Self::None {
            return String::new();
        }
        format!(
            "Access-Control-Allow-Methods: {methods}\r\n\
             Access-Control-Allow-Headers: Authorization, Content-Type, Last-Event-ID\r\n\
             Access-Control-Max-Age: {MAX_AGE_S}\r\n"
        )
    }
}

const NAME: &[u8] = b"origin:";

/// How long a browser may go by an answer: the longest that all of them honour.
const MAX_AGE_S: u32 = 7_200;

#[cfg(test)]
mod tests {
    use super::*;

    fn admit(listed: &[&str], origin: Option<&str>) -> Result<Cors, Refusal> {
        let entries = listed.iter().map(|entry| (*entry).to_owned()).collect::<Vec<_>>();
        Cors::admit(&Origins::try_from(entries).unwrap(), origin)
    }

    #[test]
    fn the_page_is_found_in_what_is_no_request() {
        let listed = Origins::try_from(vec!["https://a.example".to_owned()]).unwrap();
        let page = Cors::Page("https://a.example".into());
        for (head, expected) in [
            ("GET / HTTP/1.1\r\nORIGIN:https://a.example \r\n", page.clone()),
            ("\u{1}\nOrigin: https://a.example", page),
            ("GET / HTTP/1.1\r\nOrigin: https://b.example\r\n", Cors::None),
            ("GET / HTTP/1.1\r\nX-Origin: https://a.example\r\n", Cors::None),
            ("", Cors::None),
        ] {
            assert_eq!(Cors::admit_unread(&listed, head.as_bytes()), expected, "{head}");
            assert_eq!(Cors::admit_unread(&Origins::default(), head.as_bytes()), Cors::Any);
        }
    }

    #[test]
    fn without_a_list_all_pages_and_without_an_origin_all_clients_pass() {
        assert_eq!(admit(&[], Some("https://any.example")), Ok(Cors::Any));
        assert_eq!(admit(&["https://a.example"], None), Ok(Cors::None));
        let page = Ok(Cors::Page("null".into()));
        assert_eq!(admit(&["null"], Some("null")), page, "a page from a file");
        let refused = admit(&["https://a.example"], Some("https://b.example"));
        assert_eq!(refused.unwrap_err().status, Status::Forbidden);
    }
}
