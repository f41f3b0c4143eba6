//! tmp
fn main() {
    let mut config = gridcast::config::Config::default();
    if let Some(n) = std::env::args().nth(1) { config.server.cores = n.parse().unwrap(); }
    gridcast::server::run(config, |a| println!("listening {a}")).unwrap();
}
