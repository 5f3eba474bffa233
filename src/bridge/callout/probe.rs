//! A look at the endpoint from outside of a node: whether it can be asked, and whether it refuses a client that brings nothing.
//!
//! Owns the question. Decides nothing: who looks judges.

use super::client::Client;
use crate::{clock::Clock, config::Http, model::Question};
use hyper::StatusCode;
use std::{
    io,
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};

/// What it says of a client without a credential.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OfNobody {
    /// How long it took, µs.
    pub micros: u64,
    /// Whether it would let it in.
    pub lets_in: bool,
}

/// Whether what is set can be used at all: the address, and the certificates to trust. Asks nobody.
///
/// # Errors
/// What is wrong.
pub fn check(config: &Http) -> io::Result<()> {
    Client::new(config).map(drop)
}

/// Asks it about a client that brings nothing; within `auth.http.timeout`, but for names that are looked up.
///
/// # Errors
/// When there is no answer, in words.
pub fn of_nobody(config: &Http, clock: &Clock) -> Result<OfNobody, String> {
    let words = |error: io::Error| error.to_string();
    let client = Client::new(config).map_err(words)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build();
    let question = Question::new("/", std::iter::empty(), IpAddr::V4(Ipv4Addr::LOCALHOST), false);
    let began_us = clock.micros();
    let asked = async {
        let limit = Duration::from_millis(config.timeout_ms);
        tokio::time::timeout(limit, client.ask(&question)).await
    };
    match runtime.map_err(words)?.block_on(asked) {
        Ok(Ok(answered)) => Ok(OfNobody {
            micros: clock.micros().saturating_sub(began_us),
            lets_in: answered.status == StatusCode::OK,
        }),
        Ok(Err(problem)) => Err(problem.to_string()),
        Err(_) => Err("no answer in time".to_owned()),
    }
}
