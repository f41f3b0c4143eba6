//! The administrators' requests: status, topics and drain; and the pages. Owns who may ask, and
//! the answers. Must not drain anything itself: `ending` does.

use crate::core::Core;
use crate::feed::log::listed::Listed;
use crate::http::origin::Cors;
use crate::http::page::{File, Page};
use crate::http::refusal::Refusal;
use crate::http::request::{Request, has_token};
use crate::http::response::{Exchange, Response};
use crate::http::route::{Door, Route};
use crate::http::status::Status;
use crate::http::topics;
use crate::metrics::Gate;
use crate::net::backend::Backend;

impl<B: Backend> Core<B> {
    pub(crate) fn serve_admin(
        &mut self,
        key: u32,
        route: &Route,
        request: &Request,
        exchange: &Exchange,
    ) -> Result<(), Refusal> {
        match route {
            Route::Topics(question) => self.send_topics(key, question, request, exchange),
            Route::File(file) => self.send_file(key, file, exchange),
            Route::Drain => self.begin_drain(key, request, exchange),
            _ => self.send_status(key, request, exchange),
        }
    }

    fn send_status(
        &mut self,
        key: u32,
        request: &Request,
        exchange: &Exchange,
    ) -> Result<(), Refusal> {
        self.admit_admin(key, request, exchange)?;
        let usage = self.shared.registry.usage();
        let status = serde_json::json!({
            "version": env!("CARGO_PKG_VERSION"),
            "ready": self.shared.is_ready(),
            "draining": self.shared.is_draining(),
            "cores": self.shared.cores(),
            "connections": self.shared.admission.total(),
            "topics": usage.topics,
            "patterns": usage.patterns,
            "log_bytes": usage.log_bytes,
        });
        self.respond(key, &Response::json(Status::Ok, status.to_string() + "\n"), exchange);
        Ok(())
    }

    /// Which topics there are: as many as a turn has time for, and where to go on.
    fn send_topics(
        &mut self,
        key: u32,
        question: &topics::Question,
        request: &Request,
        exchange: &Exchange,
    ) -> Result<(), Refusal> {
        self.admit_admin(key, request, exchange)?;
        let (now_ns, unix_ms) = (self.now_ns(), self.backend.unix_ms());
        let topics::Question { search, after, limit } = question;
        let listing = self.shared.registry.list(search, after.as_ref(), *limit, now_ns);
        let topics: Vec<_> =
            listing.topics.iter().map(|listed| written(listed, now_ns, unix_ms)).collect();
        let next = listing.next.as_ref().map(|topic| topic.as_str());
        let answer = serde_json::json!({"topics": topics, "next": next});
        self.respond(key, &Response::json(Status::Ok, answer.to_string() + "\n"), exchange);
        Ok(())
    }

    /// A page goes to whoever asks, because it tells nothing of this engine. The console is of no
    /// use where nobody can be an administrator: then it is said how that is changed.
    fn send_file(
        &mut self,
        key: u32,
        file: &'static File,
        exchange: &Exchange,
    ) -> Result<(), Refusal> {
        let is_of_use = self.auth.is_on() || self.conns[key as usize].door == Door::Admins;
        if file.page == Page::Console && !is_of_use {
            self.metrics.turned_away(Gate::Admin);
            return Err(Refusal::new(Status::Forbidden, OFF));
        }
        self.respond(key, &file.response(), exchange);
        Ok(())
    }

    fn begin_drain(
        &mut self,
        key: u32,
        request: &Request,
        exchange: &Exchange,
    ) -> Result<(), Refusal> {
        self.admit_admin(key, request, exchange)?;
        self.shared.drain(self.now_ns());
        let (drain, connections) = (&self.config.drain, self.shared.admission.total());
        tracing::info!(connections, "draining: asked to");
        let answer = serde_json::json!({
            "draining": true,
            "connections": connections,
            "window_ms": drain.window_ms,
            "deadline_ms": drain.deadline_ms,
        });
        let response = Response::json(Status::Accepted, answer.to_string() + "\n");
        self.respond(key, &response, &Exchange { keep_alive: false, ..exchange.clone() });
        Ok(())
    }

    /// Administrators have a token with that right or, where nobody is asked for one, reach the
    /// listener of `admin.listen`. An address proves nothing: proxies and browsers on this machine
    /// connect from loopback for anybody.
    fn admit_admin(&self, key: u32, request: &Request, exchange: &Exchange) -> Result<(), Refusal> {
        let is_open = !self.auth.is_on();
        // Browsers post across sites, with cookies, without asking first (Fetch Metadata, section
        // 2.3). Cors::Any is a page that no setting lists.
        let is_foreign_page = has_token(request.headers.sec_fetch_site.as_deref(), "cross-site")
            || is_open && exchange.cors == Cors::Any;
        let message = if is_foreign_page {
            "pages of other sites may not administer the engine (Origin, Sec-Fetch-Site)"
        } else if !is_open {
            return self.may_administer(key).map_err(Refusal::from);
        } else if self.conns[key as usize].door == Door::Admins {
            return Ok(());
        } else {
            OFF
        };
        self.metrics.turned_away(Gate::Admin);
        Err(Refusal::new(Status::Forbidden, message))
    }
}

fn written(listed: &Listed, now_ns: u64, unix_ms: u64) -> serde_json::Value {
    let age_ms = |at_ns: u64| now_ns.saturating_sub(at_ns) / 1_000_000;
    serde_json::json!({
        "topic": listed.topic.as_str(),
        "epoch": listed.position.epoch.to_string(),
        "seq": listed.position.seq,
        "time_ms": listed.newest_ns.map(|at_ns| unix_ms.saturating_sub(age_ms(at_ns))),
        "rate_per_s": (listed.rate_per_s * 100.0).round() / 100.0,
        "messages": listed.messages,
        "bytes": listed.bytes,
        "subscribers": listed.subscribers,
    })
}

/// Why nobody is an administrator where nobody is asked for a token.
const OFF: &str = "administration is off here: set admin.listen, a listener of its own, or give a \
                   token admin = true ([[auth.token]], or \"admin\": true in the claim gridcast)";
