//! tmp
use std::net::SocketAddr;
use crate::epoch::Epoch;
use crate::feed::registry::RegistryOptions;
use crate::feed::retention::{Retention, RetentionClasses};
#[derive(Clone, Debug)] #[allow(missing_docs)]
pub struct Config { pub server: Server, pub limits: Limits, pub flush: Flush, pub keepalive: Keep, pub drain: Drain, pub debug: Dbg }
#[derive(Clone, Debug)] #[allow(missing_docs)]
pub struct Server { pub listen: SocketAddr, pub cores: usize }
#[derive(Clone, Debug)] #[allow(missing_docs)]
pub struct Limits { pub message_bytes_max: u32, pub header_bytes_max: u32, pub handshake_ms_max: u64, pub connections_max: usize, pub connections_per_source_max: usize, pub publishes_per_s_max: u32 }
#[derive(Clone, Debug)] #[allow(missing_docs)]
pub struct Flush { pub sockets_per_slice: usize, pub bytes_per_socket: usize, pub send_buffer_bytes: usize, pub lag_age_ms_max: u64 }
#[derive(Clone, Debug)] #[allow(missing_docs)]
pub struct Keep { pub ping_interval_ms: u64, pub idle_timeout_ms: u64, pub close_timeout_ms: u64 }
#[derive(Clone, Debug)] #[allow(missing_docs)]
pub struct Drain { pub window_ms: u64, pub deadline_ms: u64, pub reconnect_ms_min: u64, pub reconnect_ms_max: u64 }
#[derive(Clone, Debug)] #[allow(missing_docs)]
pub struct Dbg { pub echo: bool }
impl Default for Config { fn default() -> Self { Config {
 server: Server{ listen: "127.0.0.1:9400".parse().unwrap(), cores: 0},
 limits: Limits{message_bytes_max: 1<<20, header_bytes_max: 16384, handshake_ms_max: 5000, connections_max: 1_000_000, connections_per_source_max: 0, publishes_per_s_max: 0},
 flush: Flush{sockets_per_slice:256, bytes_per_socket: 262144, send_buffer_bytes: 262144, lag_age_ms_max: 10000},
 keepalive: Keep{ping_interval_ms:30000,idle_timeout_ms:90000,close_timeout_ms:5000},
 drain: Drain{window_ms:5000,deadline_ms:10000,reconnect_ms_min:100,reconnect_ms_max:5000},
 debug: Dbg{echo:true}}}}
impl Config { #[allow(missing_docs)]
 pub fn cores(&self)->usize { if self.server.cores==0 { std::thread::available_parallelism().map_or(1,|n|n.get()) } else { self.server.cores } }
 #[allow(missing_docs)]
 pub fn registry_options(&self, epoch: Epoch)->RegistryOptions { RegistryOptions{ topics_max: 1_000_000, log_bytes_max: 1<<30, compact_after_ns: 30_000_000_000, forget_after_ns: 3_600_000_000_000, classes: RetentionClasses::new(vec![], Retention{frames_max:u64::MAX, bytes_max:1<<20, age_ns_max:None, lag: crate::subscription::LagPolicy::Disconnect}), epoch}}
 #[allow(missing_docs)]
 pub fn read_bytes_min(&self)->usize{0}
}
