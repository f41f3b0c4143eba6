//! What administrators ask of the engine: how it is, and to drain. Owns who may ask and the
//! answers. Must not drain anything itself: the engine does.

use crate::core::Core;
use crate::http::origin::Cors;
use crate::http::refusal::Refusal;
use crate::http::request::Request;
use crate::http::response::{Exchange, Response, Status};
use crate::metrics::Gate;

impl Core {
    pub(crate) fn tell_status(
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
        self.shared.drain();
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

    /// Where nobody is asked for a token, administrators are on this machine. What a proxy on it
    /// passes on, or a page in a browser on it, comes from loopback as well, but not from them.
    fn admit_admin(&self, key: u32, request: &Request, exchange: &Exchange) -> Result<(), Refusal> {
        if self.auth.is_on() {
            return self.may_administer(key).map_err(Refusal::from);
        }
        let is_local = self.conns[key as usize].source.to_canonical().is_loopback();
        let is_passed_on = request.headers.x_forwarded_for.is_some();
        if is_local && !is_passed_on && exchange.cors != Cors::Any {
            return Ok(());
        }
        self.metrics.turned_away(Gate::Admin);
        let message = "this is for administrators on the engine's own machine";
        Err(Refusal::new(Status::Forbidden, message))
    }
}
