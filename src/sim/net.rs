//! A kernel in memory: listeners, sockets as byte queues, clocks that stand still until they are moved, and the faults of
//! real ones: short reads and writes, resets, no descriptors, events that are late, doubled, out of order or stale.
//!
//! Events are edge-triggered as epoll's are. A socket is reported readable when bytes come, when it is registered and
//! when its interest changes while there are some; writable when its interest changes while there is room, and when room
//! comes back after a write that found too little. Nothing else reports it again, unless a fault does.

use super::faults::{Faults, Odds};
use crate::{
    kit::{mailbox::Wake, random::Random, time::Now},
    shard::net::{Event, Net, NotAccepted, Socket},
};
use std::{
    cell::RefCell,
    collections::{BTreeSet, VecDeque},
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
pub const START_US: u64 = (u32::MAX as u64 - 3_000) * 10_000;
/// What the wall clock says then, ms since 1970: a whole second.
pub const START_UNIX_MS: u64 = 1_800_000_000_000;

/// Tokens of closed sockets that are remembered.
const STALE_TOKENS: usize = 16;

/// Everything outside the shards.
pub struct World {
    /// The monotonic clock, µs.
    pub micros: u64,
    /// How far the wall clock has been set away from where it began, ms.
    pub wall_offset_ms: i64,
    /// What one write costs, µs.
    pub write_cost_us: u64,
    /// Sockets that the process may yet have.
    pub descriptors: usize,
    /// Events handed out by one poll.
    pub events_max: usize,
    /// Whether registering fails.
    pub full_epoll: bool,
    /// How often calls go wrong.
    pub faults: Faults,
    /// Decides when.
    pub random: Random,
    /// Every connection there ever was, by the number that is its socket.
    pub sockets: Vec<End>,
    /// Whether somebody else holds the listeners, too.
    pub shared_listeners: bool,
    /// By shard, whether its listener is left to others.
    left: Vec<bool>,
    backlogs: Vec<VecDeque<usize>>,
    /// By shard, the sockets that the server has accepted and not closed.
    accepted: Vec<BTreeSet<usize>>,
    /// Tokens of sockets that are closed, for events that come too late.
    stale_tokens: Vec<(usize, u64)>,
}

/// One connection, as the client's end has it.
pub struct End {
    /// Whose listener it came to.
    pub shard: usize,
    /// Where it comes from.
    pub address: IpAddr,
    /// When the server took it in, µs.
    pub accepted_us: Option<u64>,
    /// Sent by the client, not read by the server.
    pub up: VecDeque<u8>,
    /// Sent by the server, not taken by the test.
    pub down: Vec<u8>,
    /// How many bytes the kernel takes from the server before it is full.
    pub room: usize,
    /// The client has sent its end.
    pub ended: bool,
    /// The connection has failed.
    pub failed: Option<ErrorKind>,
    /// The server has shut its side.
    pub shut: bool,
    /// The server has closed.
    pub closed: bool,
    /// A write took less than it was given, at least once: what the server says last may be cut off.
    pub was_short: bool,
    /// Bytes that the kernel has taken from the server in all.
    pub sent: u64,
    /// What the server registered it with.
    token: Option<u64>,
    watches_writable: bool,
    /// A write found too little room.
    short_of_room: bool,
    ready_to_read: bool,
    ready_to_write: bool,
}

impl World {
    /// A world without connections or faults.
    pub fn new(shards: usize) -> Self {
        Self {
            micros: START_US,
            wall_offset_ms: 0,
            write_cost_us: 0,
            descriptors: usize::MAX,
            events_max: usize::MAX,
            full_epoll: false,
            faults: Faults::NONE,
            random: Random::seeded(0),
            sockets: Vec::new(),
            shared_listeners: false,
            left: vec![false; shards],
            backlogs: vec![VecDeque::new(); shards],
            accepted: vec![BTreeSet::new(); shards],
            stale_tokens: Vec::new(),
        }
    }

    /// Both clocks.
    pub fn now(&self) -> Now {
        let unix_ms = START_UNIX_MS + (self.micros - START_US) / 1_000;
        Now { micros: self.micros, unix_ms: unix_ms.saturating_add_signed(self.wall_offset_ms) }
    }

    /// A client connects to a shard; its socket's number.
    pub fn connect(&mut self, shard: usize, address: IpAddr) -> usize {
        self.sockets.push(End {
            shard,
            address,
            accepted_us: None,
            up: VecDeque::new(),
            down: Vec::new(),
            room: usize::MAX,
            ended: false,
            failed: None,
            shut: false,
            closed: false,
            was_short: false,
            sent: 0,
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
        let ready = |&number: &usize| self.sockets[number].is_registered() && self.sockets[number].is_ready();
        accepts && !self.left[shard] && !self.backlogs[shard].is_empty()
            || self.accepted[shard].iter().any(ready)
    }

    /// Whether a shard's listener is left to others, for whom connections wait.
    pub fn is_left(&self, shard: usize) -> bool {
        self.left[shard]
    }

    /// Connections that wait to be accepted by a shard.
    pub fn backlog(&self, shard: usize) -> usize {
        self.backlogs[shard].len()
    }

    /// Sockets of a shard that the server has accepted and not closed.
    pub fn open_sockets(&self, shard: usize) -> usize {
        self.accepted[shard].len()
    }
}

impl End {
    /// The client takes what has been sent to it, at most so much: that is room for more.
    pub fn take(&mut self, most: usize) -> Vec<u8> {
        let taken: Vec<u8> = self.down.drain(..most.min(self.down.len())).collect();
        let room = self.room.saturating_add(taken.len());
        self.set_room(room);
        taken
    }

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

    /// The client, or something in between, resets the connection.
    pub fn reset(&mut self) {
        self.fail(ErrorKind::ConnectionReset);
    }

    /// The connection fails under both.
    pub fn fail(&mut self, how: ErrorKind) {
        self.failed = Some(how);
        self.ready_to_read = true;
    }

    /// The kernel takes so many bytes from now on.
    pub fn set_room(&mut self, room: usize) {
        self.room = room;
        if room > 0 && self.watches_writable && self.short_of_room {
            self.ready_to_write = true;
        }
    }

    /// Whether the server asks to be told of room.
    pub fn watches_writable(&self) -> bool {
        self.watches_writable
    }

    /// Whether the server is told of what happens to it.
    pub fn is_registered(&self) -> bool {
        self.token.is_some() && !self.closed
    }

    fn is_ready(&self) -> bool {
        self.ready_to_read || self.ready_to_write
    }

    fn event(&self, readable: bool, writable: bool) -> Event {
        let ended = readable && self.ended;
        Event::Ready {
            token: self.token.unwrap_or_default(),
            readable,
            ended,
            writable,
            failed: self.failed.is_some(),
        }
    }

    fn look_again(&mut self) {
        self.ready_to_read |= !self.up.is_empty() || self.ended || self.failed.is_some();
        self.ready_to_write |= self.watches_writable && self.room > 0;
    }

    /// Takes at most `most`, however much room there is.
    fn write(&mut self, bytes: &[u8], most: usize) -> io::Result<usize> {
        assert!(!self.closed && !self.shut, "written after the server's own end");
        if let Some(how) = self.failed {
            return Err(how.into());
        }
        let taken = bytes.len().min(self.room).min(most);
        if self.room != usize::MAX {
            self.room -= taken;
        }
        self.sent += taken as u64;
        self.short_of_room = taken < bytes.len();
        self.was_short |= self.short_of_room;
        // Where there is room after all, it came right after the write.
        self.ready_to_write |= self.short_of_room && self.room > 0 && self.watches_writable;
        self.down.extend(&bytes[..taken]);
        if taken == 0 && !bytes.is_empty() { Err(ErrorKind::WouldBlock.into()) } else { Ok(taken) }
    }
}

/// One shard's view of the world.
pub struct FakeNet {
    /// What all shards share.
    pub world: Rc<RefCell<World>>,
    /// Which shard.
    pub shard: usize,
    /// Rung when it has mail.
    pub mail: Arc<Bell>,
}

/// Rung by mailboxes.
#[derive(Default)]
pub struct Bell(AtomicBool);

impl Bell {
    /// Whether there is news.
    pub fn is_rung(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// The same, and forgets it.
    pub fn take(&self) -> bool {
        self.0.swap(false, Ordering::Relaxed)
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

    fn strikes(&self, of: impl FnOnce(&Faults) -> Odds) -> bool {
        let World { faults, random, .. } = &mut *self.world.borrow_mut();
        of(faults).strikes(random)
    }

    /// How many of so many bytes one call takes at most.
    fn cut(&self, bytes: usize) -> usize {
        let World { faults, random, .. } = &mut *self.world.borrow_mut();
        if faults.nothing.strikes(random) {
            return 0;
        }
        if faults.short.strikes(random) { 1 + random.below(bytes as u64) as usize } else { bytes }
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
        let World { events_max, faults, random, sockets, left, backlogs, accepted, stale_tokens, .. } =
            &mut *world;
        if !faults.late_mail.strikes(random) && self.mail.take() {
            events.push(Event::Mail);
        }
        if !left[self.shard] && !backlogs[self.shard].is_empty() {
            events.push(Event::Accept { listener: 0 });
        }
        let most = events_max.saturating_add(events.len());
        for &number in &accepted[self.shard] {
            let end = &mut sockets[number];
            if events.len() < most && end.is_registered() && end.is_ready() {
                events.push(end.event(end.ready_to_read, end.ready_to_write));
                (end.ready_to_read, end.ready_to_write) = (false, false);
            }
        }
        if faults.odd_events.strikes(random) {
            let watched = accepted[self.shard].iter().map(|&number| &sockets[number]);
            for end in watched.filter(|end| end.is_registered()) {
                if random.below(4) == 0 {
                    events.push(end.event(random.below(2) == 0, random.below(2) == 0));
                }
            }
            for &(_, token) in stale_tokens.iter().filter(|(shard, _)| *shard == self.shard) {
                if random.below(4) == 0 {
                    let failed = random.below(2) == 0;
                    events.push(Event::Ready {
                        token,
                        readable: true,
                        ended: failed,
                        writable: true,
                        failed,
                    });
                }
            }
            for at in (1..events.len()).rev() {
                events.swap(at, random.below(at as u64 + 1) as usize);
            }
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
        let World { faults, random, descriptors, micros, .. } = &mut *world;
        if faults.aborted_accept.strikes(random) {
            *descriptors = descriptors.saturating_add(1);
            world.sockets[number].closed = true;
            return Err(NotAccepted::Failed(ErrorKind::ConnectionAborted.into()));
        }
        let now_us = *micros;
        world.sockets[number].accepted_us = Some(now_us);
        world.accepted[self.shard].insert(number);
        Ok((Socket(number as i32), world.sockets[number].address))
    }

    fn accept_and_close(&mut self, _listener: usize) -> bool {
        let mut world = self.world.borrow_mut();
        let Some(number) = world.backlogs[self.shard].pop_front() else { return false };
        world.sockets[number].closed = true;
        true
    }

    fn register(&mut self, socket: Socket, token: u64) -> io::Result<()> {
        if self.world.borrow().full_epoll || self.strikes(|faults| faults.full_epoll) {
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
        if self.strikes(|faults| faults.interrupted) {
            return Err(ErrorKind::Interrupted.into());
        }
        let most = self.cut(buffer.len());
        self.end(socket, |end| {
            if let Some(how) = end.failed.filter(|_| end.up.is_empty()) {
                return Err(how.into());
            }
            if end.up.is_empty() && end.ended {
                return Ok(0);
            }
            let count = buffer.len().min(end.up.len()).min(most);
            // What was left came right after the read.
            end.ready_to_read |= count < end.up.len().min(buffer.len());
            if count == 0 {
                return Err(ErrorKind::WouldBlock.into());
            }
            for (to, from) in buffer.iter_mut().zip(end.up.drain(..count)) {
                *to = from;
            }
            Ok(count)
        })
    }

    fn send(&mut self, socket: Socket, bytes: &[u8]) -> io::Result<usize> {
        let cost = self.world.borrow().write_cost_us;
        self.world.borrow_mut().micros += cost;
        if self.strikes(|faults| faults.interrupted) {
            return Err(ErrorKind::Interrupted.into());
        }
        let most = self.cut(bytes.len());
        self.end(socket, |end| end.write(bytes, most))
    }

    fn send_pieces(&mut self, socket: Socket, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        let bytes: Vec<u8> = pieces.iter().flat_map(|piece| piece.iter().copied()).collect();
        self.send(socket, &bytes)
    }

    fn shut_write(&mut self, socket: Socket) {
        self.end(socket, |end| end.shut = true);
    }

    fn close(&mut self, socket: Socket) {
        let token = self.end(socket, |end| {
            end.closed = true;
            end.token
        });
        let mut world = self.world.borrow_mut();
        world.accepted[self.shard].remove(&(socket.0 as usize));
        if let Some(token) = token {
            world.stale_tokens.push((self.shard, token));
            let excess = world.stale_tokens.len().saturating_sub(STALE_TOKENS);
            world.stale_tokens.drain(..excess);
        }
        world.descriptors = world.descriptors.saturating_add(1);
    }

    fn leave_listeners(&mut self) -> io::Result<bool> {
        let mut world = self.world.borrow_mut();
        world.left[self.shard] = world.shared_listeners;
        Ok(world.shared_listeners)
    }

    fn take_back_listeners(&mut self) -> io::Result<()> {
        self.world.borrow_mut().left[self.shard] = false;
        Ok(())
    }

    fn close_listeners(&mut self) {
        let mut world = self.world.borrow_mut();
        if !world.shared_listeners {
            world.backlogs[self.shard].clear();
        }
    }
}
