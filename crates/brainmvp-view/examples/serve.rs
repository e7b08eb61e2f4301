//! Serves what is named on the command line: `cargo run -p brainmvp-view --example serve -- PATH...`

use std::sync::atomic::AtomicBool;

use brainmvp_view::{Options, Server};

static STOP: AtomicBool = AtomicBool::new(false);

#[expect(clippy::print_stdout, reason = "an example")]
fn main() -> brainmvp_view::Result<()> {
    let paths = std::env::args_os().skip(1).map(Into::into).collect();
    let server = Server::open(Options { paths, port: 0 })?;
    server.problems().iter().for_each(|problem| println!("problem: {problem}"));
    println!("{}", server.address());
    server.run(&STOP)
}
