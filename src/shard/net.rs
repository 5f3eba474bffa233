//! The seam between a shard and the outside, sockets and clocks: few calls, each the shape of a system call, so that a simulated network can
//! stand in for the kernel, and TLS between the two.

use crate::kit::time::Now;
use std::{
    io::{self, IoSlice},
    net::IpAddr,
    time::Duration,
};

/// A client socket: a descriptor, or a simulated one's number. Four bytes of every connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Socket(pub i32);

/// Something to look at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Event {
    /// A listener has connections.
    Accept {
        /// Which listener.
        listener: usize,
    },
    /// A connection's socket.
    Ready {
        /// What it was registered with.
        token: u64,
        /// It may be read.
        readable: bool,
        /// Its peer will send nothing more: it is to be read to its end.
        ended: bool,
        /// It may be written.
        writable: bool,
        /// It has failed: nothing more can be read or written.
        failed: bool,
    },
    /// Another thread has posted to the mailbox.
    Mail,
}

/// Why nothing was accepted.
#[derive(Debug)]
pub enum NotAccepted {
    /// Nobody waits.
    Nobody,
    /// The process or the host is out of descriptors.
    NoDescriptor,
    /// That connection failed, or the kernel is short of something: the next may do.
    Failed(io::Error),
}

/// What a shard needs of a network.
pub trait Net {
    /// Both clocks.
    fn now(&self) -> Now;

    /// The monotonic clock alone, µs.
    fn micros(&self) -> u64;

    /// Waits for events, at most so long; None: until there is one. Clears `events` first.
    ///
    /// # Errors
    /// When the poll itself fails.
    fn poll(&mut self, events: &mut Vec<Event>, timeout: Option<Duration>) -> io::Result<()>;

    /// Listeners, numbered from 0.
    fn listeners(&self) -> usize;

    /// Accepts one connection; its socket does not block.
    ///
    /// # Errors
    /// See [`NotAccepted`].
    fn accept(&mut self, listener: usize) -> Result<(Socket, IpAddr), NotAccepted>;

    /// Accepts one connection with a descriptor held in reserve, and closes it. Says whether there was one.
    fn accept_and_close(&mut self, listener: usize) -> bool;

    /// From now on events are reported, each change once.
    ///
    /// # Errors
    /// When the host has no room for another.
    fn register(&mut self, socket: Socket, token: u64) -> io::Result<()>;

    /// Changes whether it is also reported that a registered socket may be written.
    ///
    /// # Errors
    /// When the kernel refuses.
    fn watch_writable(&mut self, socket: Socket, token: u64, on: bool) -> io::Result<()>;

    /// Reads; 0 is the peer's end.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] where nothing is there, or the socket's failure.
    fn receive(&mut self, socket: Socket, buffer: &mut [u8]) -> io::Result<usize>;

    /// Writes.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] where there is no room, or the socket's failure.
    fn send(&mut self, socket: Socket, bytes: &[u8]) -> io::Result<usize>;

    /// Writes several pieces.
    ///
    /// # Errors
    /// As [`Net::send`].
    fn send_pieces(&mut self, socket: Socket, pieces: &[IoSlice<'_>]) -> io::Result<usize>;

    /// Nothing more will be written.
    fn shut_write(&mut self, socket: Socket);

    /// Closes it; it leaves the poll by itself.
    fn close(&mut self, socket: Socket);

    /// Accepts no more where somebody else holds the listeners too: who connects waits in the kernel's queue for him. False:
    /// nobody does, and nothing has changed.
    ///
    /// # Errors
    /// When the kernel refuses.
    fn leave_listeners(&mut self) -> io::Result<bool>;

    /// Accepts again after [`Net::leave_listeners`].
    ///
    /// # Errors
    /// When the kernel refuses.
    fn take_back_listeners(&mut self) -> io::Result<()>;

    /// Stops listening: connections not yet accepted are the kernel's to refuse, unless somebody else holds the listeners.
    fn close_listeners(&mut self);
}
