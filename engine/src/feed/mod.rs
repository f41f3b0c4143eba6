//! Feeds: what is published, kept and read. Pure: no sockets, no clocks, no events.
//!
//! The path of a frame: [`registry`] finds the feed, [`log`] numbers the message, [`lane`] encodes
//! it, [`segment`] holds the bytes; a [`cursor`] stands in them, and [`lag`] decides when it
//! cannot.

pub mod awaited;
pub mod backfill;
pub mod cursor;
pub mod domain;
pub mod encoder;
pub mod epoch;
pub mod excerpt;
pub mod gap;
pub mod handed;
pub mod held;
pub mod kept;
pub mod kind;
pub mod lag;
pub mod lane;
pub mod lane_reader;
pub mod log;
pub mod message;
pub mod open_lane;
pub mod options;
pub mod packing;
pub mod placed;
pub mod positions;
pub mod prepared;
pub mod published;
pub mod rated;
pub mod registry;
pub mod retention;
pub mod segment;
pub mod source;
pub mod times;
pub mod topic;
