//! The pages that are built in, and what they load: which file a path is, and with what headers it
//! goes. Owns what a page may do in a browser. The files are made by `scripts/pages` from
//! `engine/pages`. Must not decide who gets them (that is `route`).

use crate::http::response::Response;
use crate::http::status::Status;

/// A page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Page {
    /// That of administrators.
    Console,
    /// That for displays.
    Wall,
}

/// A file of a page.
#[derive(Debug, PartialEq, Eq)]
pub struct File {
    /// Where it is served.
    pub path: &'static str,
    /// The page that needs it.
    pub page: Page,
    media_type: &'static str,
    body: &'static str,
}

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const JS: &str = "text/javascript; charset=utf-8";

/// A page loads from here, talks with here, and is shown nowhere else. `data:` is its icon.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
                      img-src 'self' data:; base-uri 'none'; form-action 'none'; \
                      frame-ancestors 'none'";

macro_rules! file {
    ($page:ident, $path:literal, $media_type:ident, $name:literal) => {
        File {
            path: $path,
            page: Page::$page,
            media_type: $media_type,
            body: include_str!(concat!("../../pages/dist/", $name)),
        }
    };
}

static FILES: [File; 6] = [
    file!(Console, "/console", HTML, "console.html"),
    file!(Console, "/pages/console.css", CSS, "console.css"),
    file!(Console, "/pages/console.js", JS, "console.js"),
    file!(Wall, "/wall", HTML, "wall.html"),
    file!(Wall, "/pages/wall.css", CSS, "wall.css"),
    file!(Wall, "/pages/wall.js", JS, "wall.js"),
];

impl File {
    /// The file at a path.
    #[must_use]
    pub fn at(path: &str) -> Option<&'static Self> {
        FILES.iter().find(|file| file.path == path)
    }

    /// The response. Browsers ask again each time, so that after an update none keeps half of the
    /// old page.
    #[must_use]
    pub fn response(&self) -> Response<'static> {
        let headers = vec![
            ("Content-Security-Policy", POLICY),
            ("X-Content-Type-Options", "nosniff"),
            ("Referrer-Policy", "no-referrer"),
            ("Cross-Origin-Opener-Policy", "same-origin"),
            ("Cross-Origin-Resource-Policy", "same-origin"),
            ("Cache-Control", "no-cache"),
        ];
        Response { content_type: self.media_type, headers, ..Response::text(Status::Ok, self.body) }
    }
}
