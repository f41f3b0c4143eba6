//! The broadcast engine.
