//! A stream of clients that nobody may refuse, while something happens to the nodes.

use crate::{
    client::Ws,
    http::{Answer, Wire},
};
use std::{
    net::SocketAddr,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

const CONNECTERS: usize = 3;

/// Connects again and again, and fails where it is refused or cut off; gives how long each had to wait for its answer.
fn connect_until(done: &AtomicBool, address: SocketAddr, connecter: usize) -> Vec<Duration> {
    let (mut open, mut waits) = (Vec::new(), Vec::new());
    while !done.load(Ordering::Relaxed) {
        let began = Instant::now();
        let wire = Wire::try_connect(address).expect("nobody is refused");
        let user = format!("u{connecter}-{}", waits.len());
        let ws = Ws::try_open(wire, "/ws", &[("X-CUSTOMER_ID", &user)]);
        open.push(ws.unwrap_or_else(|answer: Answer| panic!("{user}: {answer:?}")));
        waits.push(began.elapsed());
        std::thread::sleep(Duration::from_millis(10));
    }
    waits
}

/// A stream of clients while something happens; gives how long each waited.
pub fn while_connecting(address: SocketAddr, happens: impl FnOnce()) -> Vec<Duration> {
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let connecters: Vec<_> = (0..CONNECTERS)
            .map(|connecter| {
                let done = &done;
                scope.spawn(move || connect_until(done, address, connecter))
            })
            .collect();
        happens();
        done.store(true, Ordering::Relaxed);
        connecters.into_iter().flat_map(|connecter| connecter.join().unwrap()).collect()
    })
}
