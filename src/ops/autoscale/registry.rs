//! Asks the registry which nodes live: one question, one answer within a time.

use crate::{
    bridge::store::{Failure, LiveLease, Output, Reply, Request, Settings, Store, Target},
    config::{
        Secret,
        redis_url::{BadUrl, masked},
    },
};
use std::{
    path::PathBuf,
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    time::Duration,
};

/// Between questions while the registry cannot be reached yet.
const AGAIN: Duration = Duration::from_millis(50);
/// How often it is asked anew within one look, at most.
const TRIES: u32 = 40;

/// A registry that can be asked again and again.
pub struct Registry {
    store: Store,
    outputs: Receiver<Output>,
    timeout: Duration,
    asked: u64,
}

impl Registry {
    /// The registry at an address as in `registry.url`, with the password, if it is not in there, and the certificates to trust in
    /// place of the host's. Connects by itself, and again after a failure.
    ///
    /// # Errors
    /// When the address is none, which the sentence shows without its passwords, or a thread cannot be started.
    pub fn open(url: &str, password: Option<Secret>, ca_file: Option<PathBuf>) -> Result<Self, String> {
        let bad = |why: &dyn std::fmt::Display| format!("{}: {why}", masked(url));
        let mut target: Target = url.parse().map_err(|why: BadUrl| bad(&why))?;
        target.login.password = password.or(target.login.password);
        let settings = Settings { ca_file, ..Settings::new(target) };
        let (sender, outputs) = channel();
        // An error says that nobody wants the answer any more.
        let store =
            Store::start(&settings, move |output| drop(sender.send(output))).map_err(|why| bad(&why))?;
        Ok(Self { store, outputs, timeout: settings.timeout, asked: 0 })
    }

    /// The leases of the nodes that live.
    ///
    /// # Errors
    /// Why there is no answer, in a sentence.
    pub fn leases(&mut self) -> Result<Vec<LiveLease>, String> {
        let mut last = Failure::Down;
        for _ in 0..TRIES {
            match self.ask() {
                Ok(leases) => return Ok(leases),
                // It connects in the background: another moment may do.
                Err(Failure::Down) => last = Failure::Down,
                Err(failure) => return Err(failure.to_string()),
            }
            // Nothing is asked now, so what comes are events: they end the wait early.
            let _ = self.outputs.recv_timeout(AGAIN);
        }
        Err(last.to_string())
    }

    fn ask(&mut self) -> Result<Vec<LiveLease>, Failure> {
        self.asked += 1;
        let id = self.asked;
        self.store.submit(id, Request::Leases).map_err(|_| Failure::Down)?;
        loop {
            // The store answers within its own time-out.
            match self.outputs.recv_timeout(self.timeout * 2) {
                Ok(Output::Answer { id: of, result, .. }) if of == id => {
                    return match result? {
                        Reply::Leases(leases) => Ok(leases),
                        _ => Err(Failure::Misattributed),
                    };
                }
                Ok(_) => {}
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    return Err(Failure::Timeout);
                }
            }
        }
    }
}
