//! Output for people: the report, tables, the terminal screen, the page. Must not decide anything.

pub mod html;
pub mod lap_table;
pub mod progress_view;
pub mod screen;
pub mod spark;
pub mod table;
pub mod text;
