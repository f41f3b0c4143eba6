//! Output for people: the report, tables, the terminal screen, the page. Must not decide anything.

pub(crate) mod html;
pub(crate) mod lap_table;
pub(crate) mod progress_view;
pub(crate) mod screen;
pub(crate) mod spark;
pub(crate) mod table;
pub(crate) mod text;
