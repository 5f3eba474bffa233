//! `holdfast loadtest agent`: has clients on its machine for a coordinator on another one.
//!
//! One run at a time. Peers that do not know the token, or are none, are sent away; none of them ends it. When a coordinator
//! goes, in whatever way, its clients are closed.

use crate::{
    auth,
    fleet::{Guest, obey},
    room::Room,
};
use std::{
    collections::BTreeMap,
    ffi::OsString,
    io::{self, ErrorKind},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

/// Peers at once, most of which have not proved anything; more are closed unheard.
const PEERS_MAX: usize = 16;
/// The shortest token, characters: shorter ones can be guessed from what is heard.
const TOKEN_CHARACTERS_MIN: usize = 16;
/// Between two looks for a peer.
const LOOK: Duration = Duration::from_millis(50);
/// How long a coordinator may take to take an answer.
const WRITE_PATIENCE: Duration = Duration::from_secs(60);

/// See the module.
pub struct Agent {
    token: String,
    worker_command: Vec<OsString>,
    busy: AtomicBool,
    peers: Mutex<BTreeMap<u64, TcpStream>>,
}

impl Agent {
    /// An agent for those who know `token`. `worker_command` is as in [`crate::Layout`].
    ///
    /// # Errors
    /// When the token is too short, or this program cannot be found.
    pub fn new(token: &str, worker_command: &[OsString]) -> Result<Self, String> {
        if token.chars().count() < TOKEN_CHARACTERS_MIN {
            return Err(format!(
                "the token has fewer than {TOKEN_CHARACTERS_MIN} characters: whoever knows it has this machine open \
                 connections to anywhere (openssl rand -hex 32)"
            ));
        }
        Ok(Self {
            token: token.to_owned(),
            worker_command: crate::fleet::worker_command(worker_command)?,
            busy: AtomicBool::new(false),
            peers: Mutex::default(),
        })
    }

    /// Serves until it is told to stop, then closes all clients. `say` hears who comes and goes.
    ///
    /// # Errors
    /// When nobody can be listened to.
    pub fn serve(
        &self,
        listener: &TcpListener,
        stop: &AtomicBool,
        say: &(dyn Fn(&str) + Sync),
    ) -> io::Result<()> {
        listener.set_nonblocking(true)?;
        thread::scope(|scope| {
            for number in 0u64.. {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                // No descriptor, or a peer that has gone again: neither lasts.
                let Ok((stream, peer)) = listener.accept() else {
                    thread::sleep(LOOK);
                    continue;
                };
                if !self.remember(number, &stream) {
                    continue;
                }
                let visit = move || {
                    match self.receive(&stream, peer, say) {
                        Ok(()) => say(&format!("{peer} has left")),
                        Err(why) => say(&format!("{peer}: {why}")),
                    }
                    self.peers().remove(&number);
                };
                let name = "load-peer".to_owned();
                if thread::Builder::new().name(name).spawn_scoped(scope, visit).is_err() {
                    self.peers().remove(&number);
                }
            }
            for stream in self.peers().values() {
                // One that has gone needs no end.
                let _ = stream.shutdown(Shutdown::Both);
            }
        });
        Ok(())
    }

    fn peers(&self) -> MutexGuard<'_, BTreeMap<u64, TcpStream>> {
        self.peers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether there is room for it.
    fn remember(&self, number: u64, stream: &TcpStream) -> bool {
        let mut peers = self.peers();
        if peers.len() >= PEERS_MAX {
            return false;
        }
        stream.try_clone().is_ok_and(|copy| peers.insert(number, copy).is_none())
    }

    fn receive(
        &self,
        stream: &TcpStream,
        peer: SocketAddr,
        say: &(dyn Fn(&str) + Sync),
    ) -> Result<(), String> {
        let prepared = stream
            .set_nonblocking(false)
            .and_then(|()| stream.set_nodelay(true))
            .and_then(|()| auth::keep_alive(stream));
        prepared.map_err(|error| error.to_string())?;
        let proved = auth::challenge(stream, &self.token)?;
        if self.busy.swap(true, Ordering::AcqRel) {
            proved.refuse("the agent is busy with another run");
            return Err("was told that another run is under way".into());
        }
        let _mine = Turn(&self.busy);
        let begun = proved.welcome().and_then(|()| stream.set_read_timeout(None));
        begun
            .and_then(|()| stream.set_write_timeout(Some(WRITE_PATIENCE)))
            .map_err(|error| error.to_string())?;
        say(&format!("{peer} has a run; {}", words(&Room::read())));
        let served = obey(&mut &*stream, &mut &*stream, Guest::Agent(&self.worker_command));
        served.map_err(|error| match error.kind() {
            ErrorKind::ConnectionReset | ErrorKind::TimedOut | ErrorKind::UnexpectedEof => {
                format!("the coordinator is gone ({error}); its clients are closed")
            }
            _ => format!("{error}; its clients are closed"),
        })
    }
}

/// The one run; it is over when this goes out of scope.
struct Turn<'a>(&'a AtomicBool);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

fn words(room: &Room) -> String {
    let memory = room.memory.as_ref().map_or(0, |(bytes, _)| bytes / 1_000_000);
    format!("{} descriptors a process and {memory} MB of memory here", room.descriptors)
}

#[cfg(test)]
mod tests;
