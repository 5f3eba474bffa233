//! A kernel in memory: listeners, sockets as byte queues, a clock that stands still until it is moved, and the faults of
//! real ones: short writes, resets, no descriptors, late events.
//!
//! Events are edge-triggered as epoll's are. A socket is reported readable when bytes come, when it is registered and
//! when its interest changes while there are some; writable when its interest changes while there is room, and when room
//! comes back after a write that found too little. Nothing else reports it again.

use crate::{
    kit::{mailbox::Wake, time::Now},
    shard::net::{Event, Net, NotAccepted, Socket},
};
use std::{
    cell::RefCell,
    collections::VecDeque,
    io::{self, ErrorKind, IoSlice},
    net::IpAddr,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

/// Where the monotonic clock starts, µs: its ticks wrap 30 s later.
const START_US: u64 = (u32::MAX as u64 - 3_000) * 10_000;
/// What the wall clock says then, ms since 1970: a whole second.
const START_UNIX_MS: u64 = 1_800_000_000_000;

/// Everything outside the shards.
pub struct World {
    /// The monotonic clock, µs.
    pub micros: u64,
    /// What one write costs, µs.
    pub write_cost_us: u64,
    /// Sockets that the process may yet have.
    pub descriptors: usize,
    /// Events handed out by one poll.
    pub events_max: usize,
    /// Whether registering fails.
    pub full_epoll: bool,
    pub sockets: Vec<End>,
    backlogs: Vec<VecDeque<usize>>,
}

/// One connection, as the client's end has it.
pub struct End {
    pub shard: usize,
    pub address: IpAddr,
    /// Sent by the client, not read by the server.
    pub up: VecDeque<u8>,
    /// Sent by the server, not taken by the test.
    pub down: Vec<u8>,
    /// How many bytes the kernel takes from the server before it is full.
    pub room: usize,
    /// The client has sent its end.
    pub ended: bool,
    /// The connection is reset.
    pub reset: bool,
    /// The server has shut its side.
    pub shut: bool,
    /// The server has closed.
    pub closed: bool,
    /// What the server registered it with.
    token: Option<u64>,
    watches_writable: bool,
    /// A write found too little room.
    short_of_room: bool,
    ready_to_read: bool,
    ready_to_write: bool,
}

impl World {
    pub fn new(shards: usize) -> Self {
        Self {
            micros: START_US,
            write_cost_us: 0,
            descriptors: usize::MAX,
            events_max: usize::MAX,
            full_epoll: false,
            sockets: Vec::new(),
            backlogs: vec![VecDeque::new(); shards],
        }
    }

    pub fn now(&self) -> Now {
        Now { micros: self.micros, unix_ms: START_UNIX_MS + (self.micros - START_US) / 1_000 }
    }

    /// A client connects to a shard; its socket's number.
    pub fn connect(&mut self, shard: usize, address: IpAddr) -> usize {
        self.sockets.push(End {
            shard,
            address,
            up: VecDeque::new(),
            down: Vec::new(),
            room: usize::MAX,
            ended: false,
            reset: false,
            shut: false,
            closed: false,
            token: None,
            watches_writable: false,
            short_of_room: false,
            ready_to_read: false,
            ready_to_write: false,
        });
        let number = self.sockets.len() - 1;
        self.backlogs[shard].push_back(number);
        number
    }

    /// Whether a shard has anything to hear of, connections only where it accepts them.
    pub fn has_events(&self, shard: usize, accepts: bool) -> bool {
        let ready = |end: &End| end.shard == shard && end.is_registered() && end.is_ready();
        accepts && !self.backlogs[shard].is_empty() || self.sockets.iter().any(ready)
    }

    /// Sockets of a shard that the server has accepted and not closed.
    pub fn open_sockets(&self, shard: usize) -> usize {
        let waiting = self.backlogs[shard].len();
        self.sockets.iter().filter(|end| end.shard == shard && !end.closed).count() - waiting
    }
}

impl End {
    /// The client sends.
    pub fn send(&mut self, bytes: &[u8]) {
        self.up.extend(bytes);
        self.ready_to_read = true;
    }

    /// The client sends its end.
    pub fn end(&mut self) {
        self.ended = true;
        self.ready_to_read = true;
    }

    /// The connection fails under both.
    pub fn reset(&mut self) {
        self.reset = true;
        self.ready_to_read = true;
    }

    /// The kernel takes so many bytes from now on.
    pub fn set_room(&mut self, room: usize) {
        self.room = room;
        if room > 0 && self.watches_writable && self.short_of_room {
            self.ready_to_write = true;
        }
    }

    pub fn watches_writable(&self) -> bool {
        self.watches_writable
    }

    fn is_registered(&self) -> bool {
        self.token.is_some() && !self.closed
    }

    fn is_ready(&self) -> bool {
        self.ready_to_read || self.ready_to_write
    }

    fn look_again(&mut self) {
        self.ready_to_read |= !self.up.is_empty() || self.ended || self.reset;
        self.ready_to_write |= self.watches_writable && self.room > 0;
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        assert!(!self.closed && !self.shut, "written after the server's own end");
        if self.reset {
            return Err(ErrorKind::ConnectionReset.into());
        }
        let taken = bytes.len().min(self.room);
        self.room -= taken;
        self.short_of_room = taken < bytes.len();
        self.down.extend(&bytes[..taken]);
        if taken == 0 && !bytes.is_empty() { Err(ErrorKind::WouldBlock.into()) } else { Ok(taken) }
    }
}

/// One shard's view of the world.
pub struct FakeNet {
    pub world: Rc<RefCell<World>>,
    pub shard: usize,
    pub mail: Arc<Bell>,
}

/// Rung by mailboxes.
#[derive(Default)]
pub struct Bell(AtomicBool);

impl Bell {
    pub fn is_rung(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl Wake for Bell {
    fn wake(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl FakeNet {
    fn end<R>(&self, socket: Socket, of: impl FnOnce(&mut End) -> R) -> R {
        let mut world = self.world.borrow_mut();
        let end = &mut world.sockets[socket.0 as usize];
        assert!(end.shard == self.shard && !end.closed, "a descriptor that is not the shard's");
        of(end)
    }
}

impl Net for FakeNet {
    fn now(&self) -> Now {
        self.world.borrow().now()
    }

    fn micros(&self) -> u64 {
        self.world.borrow().micros
    }

    /// Never waits: the rig moves the clock.
    fn poll(&mut self, events: &mut Vec<Event>, _timeout: Option<Duration>) -> io::Result<()> {
        events.clear();
        let mut world = self.world.borrow_mut();
        let most = world.events_max;
        if self.mail.0.swap(false, Ordering::Relaxed) {
            events.push(Event::Mail);
        }
        if !world.backlogs[self.shard].is_empty() {
            events.push(Event::Accept { listener: 0 });
        }
        let ready = |end: &&mut End| end.shard == self.shard && end.is_registered() && end.is_ready();
        for end in world.sockets.iter_mut().filter(ready).take(most) {
            events.push(Event::Ready {
                token: end.token.unwrap_or_default(),
                readable: end.ready_to_read,
                ended: end.ready_to_read && end.ended,
                writable: end.ready_to_write,
                failed: end.reset,
            });
            (end.ready_to_read, end.ready_to_write) = (false, false);
        }
        Ok(())
    }

    fn listeners(&self) -> usize {
        1
    }

    fn accept(&mut self, _listener: usize) -> Result<(Socket, IpAddr), NotAccepted> {
        let mut world = self.world.borrow_mut();
        if world.backlogs[self.shard].is_empty() {
            return Err(NotAccepted::Nobody);
        }
        world.descriptors = world.descriptors.checked_sub(1).ok_or(NotAccepted::NoDescriptor)?;
        let number = world.backlogs[self.shard].pop_front().unwrap_or_default();
        Ok((Socket(number as i32), world.sockets[number].address))
    }

    fn accept_and_close(&mut self, _listener: usize) -> bool {
        let mut world = self.world.borrow_mut();
        let Some(number) = world.backlogs[self.shard].pop_front() else { return false };
        world.sockets[number].closed = true;
        true
    }

    fn register(&mut self, socket: Socket, token: u64) -> io::Result<()> {
        if self.world.borrow().full_epoll {
            return Err(ErrorKind::StorageFull.into());
        }
        self.end(socket, |end| {
            assert!(end.token.replace(token).is_none(), "registered twice");
            end.look_again();
        });
        Ok(())
    }

    fn watch_writable(&mut self, socket: Socket, token: u64, on: bool) -> io::Result<()> {
        self.end(socket, |end| {
            assert_eq!(end.token, Some(token));
            end.watches_writable = on;
            end.ready_to_write &= on;
            end.look_again();
        });
        Ok(())
    }

    fn receive(&mut self, socket: Socket, buffer: &mut [u8]) -> io::Result<usize> {
        self.end(socket, |end| {
            if end.reset {
                return Err(ErrorKind::ConnectionReset.into());
            }
            if end.up.is_empty() && !end.ended {
                return Err(ErrorKind::WouldBlock.into());
            }
            let count = buffer.len().min(end.up.len());
            for (to, from) in buffer.iter_mut().zip(end.up.drain(..count)) {
                *to = from;
            }
            Ok(count)
        })
    }

    fn send(&mut self, socket: Socket, bytes: &[u8]) -> io::Result<usize> {
        let cost = self.world.borrow().write_cost_us;
        self.world.borrow_mut().micros += cost;
        self.end(socket, |end| end.write(bytes))
    }

    fn send_pieces(&mut self, socket: Socket, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        let bytes: Vec<u8> = pieces.iter().flat_map(|piece| piece.iter().copied()).collect();
        self.send(socket, &bytes)
    }

    fn shut_write(&mut self, socket: Socket) {
        self.end(socket, |end| end.shut = true);
    }

    fn close(&mut self, socket: Socket) {
        self.end(socket, |end| end.closed = true);
        let mut world = self.world.borrow_mut();
        world.descriptors = world.descriptors.saturating_add(1);
    }

    fn close_listeners(&mut self) {
        self.world.borrow_mut().backlogs[self.shard].clear();
    }
}
