//! The administrators' requests: status and drain. Owns who may ask, and the answers. Must not
//! drain anything itself: `ending` does.

use crate::core::Core;
use crate::http::origin::Cors;
use crate::http::refusal::Refusal;
use crate::http::request::{Request, has_token};
use crate::http::response::{Exchange, Response};
use crate::http::route::Door;
use crate::http::status::Status;
use crate::metrics::Gate;
use crate::net::backend::Backend;

impl<B: Backend> Core<B> {
    pub(crate) fn send_status(
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

    pub(crate) fn begin_drain(
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
            "administration is off here: set admin.listen, a listener of its own, or give a token \
             admin = true ([[auth.token]], or \"admin\": true in the claim gridcast)"
        };
        self.metrics.turned_away(Gate::Admin);
        Err(Refusal::new(Status::Forbidden, message))
    }
}
