//! The broadcast engine: many publishers, very many subscribers, every frame encoded once.
//!
//! The path of a frame by file names: a publisher's bytes come in through [`core`], [`session`] and
//! [`frame`]; [`feed`] numbers, encodes and keeps them; the [`doorbell`] tells the cores; [`sweep`]
//! says who is next and [`flush`] sends.

pub mod accept;
pub mod admin;
pub mod admission;
pub mod append;
pub mod arriving;
pub mod auth;
pub mod cli;
pub mod clock;
pub mod close;
pub mod command;
pub mod config;
pub mod conn;
pub mod core;
pub mod current;
pub mod data64;
pub mod deadlines;
pub mod deflate;
pub mod doorbell;
pub mod ending;
pub mod envelope;
pub mod epoch;
pub mod feed;
pub mod flush;
pub mod forwarded;
pub mod frame;
pub mod http;
pub mod limits;
pub mod logging;
pub mod metrics;
pub mod metronome;
pub mod multiplex;
pub mod nearest;
pub mod networks;
pub mod newcomers;
pub mod outbox;
pub mod posting;
pub mod proxy;
pub mod rate;
pub mod reading;
pub mod reload;
pub mod reply;
pub mod restart;
pub mod rights;
pub mod server;
pub mod session;
pub mod settings;
pub mod shedding;
pub mod socket;
pub mod sse;
pub mod subscription;
pub mod subscriptions;
pub mod sweep;
pub mod sync;
pub mod timer;
pub mod tls;
pub mod tls_stream;
pub mod transport;
pub mod watch;
