//! The examples of docs/: every block marked `run` is carried out as it stands there, against an
//! engine of its section's own. Owns their notation. Must not repair a page: what is untrue fails.
//!
//! A block has lines of five kinds:
//!
//! ```text
//! $ curl …                    a request; the lines after it are its answer
//! connect PATH [PROTOCOL]     a WebSocket, which the arrows after it are about
//! → TEXT                      what the client sends; `→ bytes 01 ff` in a binary message
//! ← TEXT                      what it gets next; `← bytes …`, `← close CODE REASON`, `← ping TEXT`
//! anything else               a line of an answer, or of the event stream that is open
//! ```
//!
//! `…` stands for anything. `k1` to `k9` are epochs: whatever comes first, and the same from then
//! on. With `-i`, the status and each header shown must come, in any order, and others may. A line
//! `<!-- settings: a.b=1 c.d=2 -->` in a section is as of `--set`, a block of TOML marked `run` is
//! the file of settings.

#![allow(clippy::unwrap_used, clippy::expect_used)] // a failed step ends its test

mod harness;

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::PathBuf;

use gridcast::settings::config::Config;
use gridcast::settings::layers::Settings;
use harness::http::{self, Answer, Events};
use harness::{Client, Server, Told};

/// The pages with examples, and how many blocks each has at least: none may be lost unseen.
const PAGES: [(&str, usize); 3] = [("quickstart", 3), ("protocol", 20), ("authentication", 3)];

#[test]
fn what_the_pages_show_is_true() {
    for (page, blocks_min) in PAGES {
        let text = page_text(page);
        let mut blocks = 0;
        for section in sections(&text) {
            blocks += section.blocks.len();
            if let Err(message) = section.run() {
                panic!("docs/{page}.md, {}: {message}", section.title);
            }
        }
        assert!(blocks >= blocks_min, "docs/{page}.md: {blocks} blocks of examples");
    }
}

#[test]
fn what_is_untrue_is_noticed() {
    let request = "$ curl -d hi localhost:9400/v1/publish/a\n";
    let socket = "connect /v1/ws gridcast.v1.json\n→ {\"id\":1,\"subscribe\":{\"topic\":\"a\"}}\n";
    for (block, part) in [
        (format!("{request}{{\"epoch\":\"k1\",\"seq\":2…}}\n"), "where the page has"),
        (format!("{request}{{\"epoch\":\"k1\"…}}\nmore\n"), "`more` is not part of"),
        (format!("{socket}← {{\"id\":1,\"subscribed\":{{\"topic\":\"b\"…\n"), "where the page has"),
        ("connect /v1/ws\n→ no\n← bytes 00\n".to_owned(), "where the page has"),
        ("$ curl -i localhost:9400/healthz\nHTTP/1.1 404 …\n".to_owned(), "where the page has"),
        ("$ curl --compressed localhost:9400/healthz\nok\n".to_owned(), "`--compressed`"),
    ] {
        let text = format!("## Section\n```console run\n{block}```\n");
        let message = sections(&text)[1].run().unwrap_err();
        assert!(message.contains(part), "{block}: {message}");
    }
}

#[test]
fn the_protocol_page_leaves_nothing_out() {
    let page = page_text("protocol");
    for row in gridcast::wire::close::table().lines().skip(1) {
        let (code, rest) = row.split_once(' ').unwrap();
        let (reconnect, reason) = rest.trim().split_once(' ').unwrap();
        let row = format!("| {code} | {reconnect} | {} |", reason.trim());
        assert!(page.contains(&row), "docs/protocol.md lacks the row {row}");
    }
    for word in WORDS {
        assert!(page.contains(word), "docs/protocol.md never says {word}");
    }
}

/// What a client may meet on the wire, beside close codes.
const WORDS: [&str; 51] = [
    "/v1/feed/",
    "/v1/history/",
    "/v1/poll/",
    "/v1/publish/",
    "/v1/publish`",
    "/v1/ws",
    "/v1/echo",
    "/healthz",
    "/readyz",
    "/metrics",
    "/v1/admin/status",
    "/v1/admin/drain",
    "gridcast.v1.json",
    "gridcast.v1.bin",
    "\"subscribe\"",
    "\"unsubscribe\"",
    "\"publish\"",
    "\"auth\"",
    "\"authenticated\"",
    "\"subscribed\"",
    "\"unsubscribed\"",
    "\"published\"",
    "\"gap\"",
    "hello=1",
    "\"hello\"",
    "\"beat\"",
    "\"ack\":true",
    "\"error\"",
    "\"data64\"",
    "\"text\":true",
    "\"feed\"",
    "`bad_request`",
    "`forbidden`",
    "`unauthorised`",
    "`already_subscribed`",
    "`not_subscribed`",
    "`too_many_subscriptions`",
    "`rate_limited`",
    "`over_capacity`",
    "event: binary",
    "event: gap",
    "event: close",
    "retry:",
    ": ping",
    "Last-Event-ID",
    "from=latest",
    "from=oldest",
    "mode=latest",
    "lag=skip-to-oldest",
    "lag=skip-to-latest",
    "rate=",
];

fn page_text(page: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("../docs/{page}.md"));
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// What stands under one heading of the second level.
#[derive(Default)]
struct Section {
    title: String,
    settings: Vec<(String, String)>,
    file: String,
    blocks: Vec<Vec<String>>,
}

fn sections(text: &str) -> Vec<Section> {
    let mut sections = vec![Section::default()];
    let mut block: Option<(&str, Vec<String>)> = None;
    for line in text.lines() {
        let section = sections.last_mut().unwrap();
        if let Some((language, lines)) = &mut block {
            if line != "```" {
                lines.push(line.to_owned());
            } else if *language == "toml" {
                section.file = block.take().map(|(_, lines)| lines.join("\n")).unwrap();
            } else {
                section.blocks.extend(block.take().map(|(_, lines)| lines));
            }
        } else if let Some(language) = runs(line) {
            block = Some((language, Vec::new()));
        } else if let Some(title) = line.strip_prefix("## ") {
            sections.push(Section { title: title.to_owned(), ..Section::default() });
        } else if let Some(pairs) = line.strip_prefix("<!-- settings: ") {
            let pairs = pairs.trim_end_matches(" -->").split(' ');
            let pairs = pairs.map(|pair| pair.split_once('=').expect("a setting has a value"));
            section.settings.extend(pairs.map(|(name, value)| (name.into(), value.into())));
        }
    }
    sections
}

/// The language of a block that begins here and is to be run.
fn runs(line: &str) -> Option<&str> {
    line.strip_prefix("```")?.strip_suffix(" run")
}

impl Section {
    fn run(&self) -> Result<(), String> {
        let mut settings = Settings::default();
        settings.add_file("the page", &self.file);
        let own = [("server.listen", "127.0.0.1:0"), ("server.cores", "2")];
        let shown = self.settings.iter().map(|(name, value)| (&**name, &**value));
        own.into_iter().chain(shown).for_each(|(name, value)| {
            settings.add_flag("--set", name, value);
        });
        let config = Config::new(&settings).map_err(|error| error.to_string())?;
        let mut reader = Reader::new(Server::try_start(config).map_err(|e| e.to_string())?);
        self.blocks.iter().try_for_each(|block| reader.block(block))
    }
}

/// Reads a section as a client would who does what it says.
struct Reader {
    sockets: Vec<Client>,
    streams: Vec<(Events, Vec<String>)>,
    epochs: BTreeMap<String, String>,
    server: Server,
}

impl Reader {
    fn new(server: Server) -> Self {
        Self { sockets: Vec::new(), streams: Vec::new(), epochs: BTreeMap::new(), server }
    }

    fn block(&mut self, lines: &[String]) -> Result<(), String> {
        let mut answer: Option<Vec<String>> = None;
        for line in lines {
            if let Some(command) = line.strip_prefix("$ curl ") {
                answer = self.request(&self.with_epochs(command))?;
            } else if let Some(target) = line.strip_prefix("connect ") {
                self.connect(target);
            } else if let Some(text) = line.strip_prefix("→ ") {
                let text = self.with_epochs(text);
                self.send(&text);
            } else if let Some(expected) = line.strip_prefix("← ") {
                let told = shown(self.sockets.last_mut().ok_or("no socket is open")?.next());
                self.compare(expected, &told)?;
            } else if let Some(lines) = answer.as_mut() {
                self.take_line(line, lines)?;
            } else {
                let got = self.event_line()?;
                self.compare(line, &got)?;
            }
        }
        Ok(())
    }

    /// Sends a request. A plain answer comes back as lines; an event stream stays open.
    fn request(&mut self, command: &str) -> Result<Option<Vec<String>>, String> {
        let request = Request::read(command)?;
        let mut stream = self.server.connect();
        if request.is_stream {
            let feed = request.path.strip_prefix("/v1/feed/").ok_or("no feed")?;
            self.streams.push((Events::over(stream, feed, &request.headers), Vec::new()));
            return Ok(None);
        }
        stream.write_all(&request.bytes()).unwrap();
        let answer = http::read_answer(&mut stream);
        Ok(Some(answer_lines(&answer, request.shows_head)))
    }

    fn connect(&mut self, target: &str) {
        let (path, protocol) = target.split_once(' ').unwrap_or((target, ""));
        let path = self.with_epochs(path);
        self.sockets.push(match protocol {
            "" => self.server.websocket(&path),
            protocol => {
                let stream = self.server.connect();
                Client::with_header(stream, &path, "Sec-WebSocket-Protocol", protocol)
            }
        });
    }

    fn send(&mut self, text: &str) {
        let socket = self.sockets.last_mut().expect("no socket is open");
        match text.strip_prefix("bytes ") {
            Some(hex) => socket.say_bytes(
                &hex.split(' ')
                    .map(|byte| u8::from_str_radix(byte, 16).unwrap())
                    .collect::<Vec<_>>(),
            ),
            None => socket.say(text),
        }
    }

    /// One line of an answer. Headers come in any order.
    fn take_line(&mut self, line: &str, lines: &mut Vec<String>) -> Result<(), String> {
        let is_header = lines.iter().any(String::is_empty) && !line.is_empty();
        let epochs = self.epochs.clone();
        let found = lines.iter().position(|got| self.compare(line, got).is_ok());
        match found {
            Some(at) if is_header => drop(lines.remove(at)),
            Some(at) => drop(lines.drain(..=at)),
            None if lines.is_empty() => return Err(format!("`{line}` is not part of the answer")),
            None => return Err(format!("{lines:#?}, where the page has {line} ({epochs:?})")),
        }
        Ok(())
    }

    /// The next line of the event stream that was opened last.
    fn event_line(&mut self) -> Result<String, String> {
        let (events, rest) = self.streams.last_mut().ok_or("no event stream is open")?;
        if rest.is_empty() {
            let mut chunk = events.chunk().ok_or("the event stream has ended")?;
            // Comments come whenever nothing else does; the pages leave them out.
            while chunk.starts_with(':') {
                chunk = events.chunk().ok_or("the event stream has ended")?;
            }
            *rest =
                chunk.strip_suffix('\n').unwrap_or(&chunk).split('\n').map(Into::into).collect();
        }
        Ok(rest.remove(0))
    }

    fn with_epochs(&self, text: &str) -> String {
        self.epochs.iter().fold(text.to_owned(), |text, (name, epoch)| text.replace(name, epoch))
    }

    fn compare(&mut self, expected: &str, got: &str) -> Result<(), String> {
        let mut epochs = self.epochs.clone();
        if !matches(expected, got, &mut epochs) {
            return Err(format!("{got}, where the page has {expected}"));
        }
        self.epochs = epochs;
        Ok(())
    }
}

/// Whether `got` is what `expected` says, `…` and epochs being open.
fn matches(expected: &str, got: &str, epochs: &mut BTreeMap<String, String>) -> bool {
    let Some(first) = expected.chars().next() else { return got.is_empty() };
    let rest = &expected[first.len_utf8()..];
    if first == '…' {
        return (0..=got.len()).filter(|at| got.is_char_boundary(*at)).any(|at| {
            let mut tried = epochs.clone();
            let fits = matches(rest, &got[at..], &mut tried);
            if fits {
                *epochs = tried;
            }
            fits
        });
    }
    let is_epoch = first == 'k' && rest.starts_with(|c: char| ('1'..='9').contains(&c));
    if is_epoch && !rest[1..].starts_with(|c: char| c.is_ascii_alphanumeric()) {
        let end = got.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(got.len());
        let bound = epochs.entry(expected[..2].to_owned()).or_insert_with(|| got[..end].into());
        return *bound == got[..end] && matches(&rest[1..], &got[end..], epochs);
    }
    got.strip_prefix(first).is_some_and(|got| matches(rest, got, epochs))
}

fn shown(told: Told) -> String {
    match told {
        Told::Text(text) => text,
        Told::Binary(bytes) => {
            let hex: Vec<_> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            format!("bytes {}", hex.join(" "))
        }
        Told::Ping(payload) => format!("ping {payload}"),
        Told::Close(code, reason) => format!("close {code} {reason}"),
        Told::Gone => "gone".to_owned(),
    }
}

fn answer_lines(answer: &Answer, shows_head: bool) -> Vec<String> {
    let head = answer.head.lines().filter(|_| shows_head);
    let lines = head.chain(answer.body.lines());
    lines.map(|line| line.trim_end().to_owned()).collect()
}

/// What a curl command asks for.
#[derive(Default)]
struct Request {
    method: Option<String>,
    path: String,
    headers: String,
    body: Option<String>,
    shows_head: bool,
    is_stream: bool,
}

impl Request {
    fn read(command: &str) -> Result<Self, String> {
        let mut request = Self::default();
        let mut words = words(command).into_iter();
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or(format!("{word} needs a value"));
            match word.as_str() {
                "-X" => request.method = Some(value()?),
                "-d" | "--data-binary" => request.body = Some(value()?),
                "-H" => request.headers += &format!("{}\r\n", value()?),
                "-i" => request.shows_head = true,
                "-N" => request.is_stream = true,
                "&" => {}
                option if option.starts_with('-') => {
                    return Err(format!("`{option}` is no option these examples use"));
                }
                url => request.path = url[url.find("/").ok_or("no path")?..].to_owned(),
            }
        }
        if request.is_stream {
            request.headers = request.headers.replace("Accept: text/event-stream\r\n", "");
        }
        Ok(request)
    }

    /// As curl sends it, its content type included.
    fn bytes(&self) -> Vec<u8> {
        let body = self.body.as_deref().unwrap_or_default();
        let has_type = self.headers.to_ascii_lowercase().contains("content-type:");
        let method = match (&self.method, &self.body) {
            (Some(method), _) => method,
            (None, Some(_)) => "POST",
            (None, None) => "GET",
        };
        let mut head = format!("{method} {} HTTP/1.1\r\nHost: localhost:9400\r\n", self.path);
        head += &self.headers;
        if self.body.is_some() {
            head += &format!("Content-Length: {}\r\n", body.len());
            if !has_type {
                head += "Content-Type: application/x-www-form-urlencoded\r\n";
            }
        }
        format!("{head}\r\n{body}").into_bytes()
    }
}

/// The words of a shell command; `$'…'` has `\n`.
fn words(command: &str) -> Vec<String> {
    let (mut words, mut word, mut quote, mut is_open) = (Vec::new(), String::new(), None, false);
    for c in command.replace("$'", "'").replace("\\n", "\n").chars() {
        match (c, quote) {
            ('\'' | '"', None) => (quote, is_open) = (Some(c), true),
            (c, Some(open)) if c == open => quote = None,
            (' ', None) => {
                if is_open || !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
                is_open = false;
            }
            (c, _) => word.push(c),
        }
    }
    if is_open || !word.is_empty() {
        words.push(word);
    }
    words
}
