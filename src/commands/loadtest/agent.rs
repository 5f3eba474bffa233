//! `holdfast loadtest agent`: has clients on this machine for a load test that another one runs.

use super::{args::token_in, stop_on_signals};
use crate::commands::{DONE, fail};
use holdfast_loadtest::agent::Agent;
use std::{
    net::{SocketAddr, TcpListener},
    path::PathBuf,
};

/// Has clients on this machine for a load test that another machine runs (--agents), one at a time, until it is stopped.
///
/// Both sides prove that they know the token; what they say after that is not encrypted, so keep it on a network of your
/// own. Whoever knows the token can have this machine open connections to anywhere.
#[derive(clap::Args)]
pub struct Args {
    /// Where it listens
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:7070")]
    listen: SocketAddr,
    /// File that holds the token, at least 16 characters (openssl rand -hex 32)
    #[arg(long, value_name = "FILE")]
    token_file: PathBuf,
}

pub fn main(args: &Args) -> i32 {
    match serve(args) {
        Ok(()) => DONE,
        Err(why) => fail(why),
    }
}

fn serve(args: &Args) -> Result<(), String> {
    let agent = Agent::new(&token_in(&args.token_file)?, &[])?;
    let stop = stop_on_signals().map_err(|error| format!("cannot listen to signals: {error}"))?;
    let cannot = |error| format!("cannot listen at {}: {error}", args.listen);
    let listener = TcpListener::bind(args.listen).map_err(cannot)?;
    let address = listener.local_addr().map_err(cannot)?;
    eprintln!("listening at {address}");
    agent.serve(&listener, &stop, &|words| eprintln!("{words}")).map_err(cannot)
}
