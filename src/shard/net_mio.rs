//! The kernel's network through mio: one epoll, edge-triggered, per shard.
//!
//! The only file that makes system calls on client sockets. They are raw descriptors of four bytes, closed explicitly by the
//! shard that owns them.
#![allow(unsafe_code)]

use super::net::{Event, Net, NotAccepted, Socket};
use crate::{
    clock::Clock,
    kit::{mailbox::Wake, time::Now},
};
use mio::{Events, Interest, Poll, Token, Waker, unix::SourceFd};
use std::{
    fs::File,
    io::{self, IoSlice},
    mem::ManuallyDrop,
    net::{IpAddr, TcpListener},
    os::fd::{AsRawFd, FromRawFd, IntoRawFd, RawFd},
    sync::Arc,
    time::Duration,
};

/// Events fetched at once: 12 KiB for each shard.
const EVENTS_MAX: usize = 1_024;
/// A token no connection has: indexes stop far below.
const MAIL: Token = Token(usize::MAX);
const FIRST_LISTENER: usize = usize::MAX - 1_024;

/// See the module.
pub struct MioNet {
    clock: Clock,
    poll: Poll,
    events: Events,
    listeners: Vec<TcpListener>,
    /// Whether whoever started this process holds the listeners, too.
    shared: bool,
    /// Shared listeners are not watched.
    left: bool,
    /// Given up for a moment when the process has no other, so that a connection can be accepted and closed instead of
    /// ringing for ever.
    reserve: Option<File>,
}

struct MioWake(Waker);

impl Wake for MioWake {
    fn wake(&self) {
        // An eventfd write fails only when its counter is full: the poll is then awake anyway.
        let _ = self.0.wake();
    }
}

impl MioNet {
    /// A poll over `listeners`, which must not block. `shared`: whoever started this process holds them, too.
    ///
    /// # Errors
    /// When the kernel has no descriptor left.
    pub fn new(listeners: Vec<TcpListener>, shared: bool, clock: Clock) -> io::Result<(Self, Arc<dyn Wake>)> {
        let poll = Poll::new()?;
        let wake = Arc::new(MioWake(Waker::new(poll.registry(), MAIL)?));
        let events = Events::with_capacity(EVENTS_MAX);
        let net = Self { clock, poll, events, listeners, shared, left: false, reserve: open_reserve() };
        net.watch_listeners()?;
        Ok((net, wake))
    }

    fn watch_listeners(&self) -> io::Result<()> {
        self.listeners.iter().enumerate().try_for_each(|(at, listener)| {
            let token = Token(FIRST_LISTENER + at);
            self.poll.registry().register(&mut SourceFd(&listener.as_raw_fd()), token, Interest::READABLE)
        })
    }
}

impl Net for MioNet {
    fn now(&self) -> Now {
        self.clock.now()
    }

    fn micros(&self) -> u64 {
        self.clock.micros()
    }

    fn poll(&mut self, events: &mut Vec<Event>, timeout: Option<Duration>) -> io::Result<()> {
        events.clear();
        match self.poll.poll(&mut self.events, timeout) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
            other => other?,
        }
        events.extend(self.events.iter().map(|event| match event.token() {
            MAIL => Event::Mail,
            Token(token) if token >= FIRST_LISTENER => Event::Accept { listener: token - FIRST_LISTENER },
            Token(token) => Event::Ready {
                token: token as u64,
                readable: event.is_readable(),
                ended: event.is_read_closed(),
                writable: event.is_writable(),
                failed: event.is_error(),
            },
        }));
        Ok(())
    }

    fn listeners(&self) -> usize {
        self.listeners.len()
    }

    fn accept(&mut self, listener: usize) -> Result<(Socket, IpAddr), NotAccepted> {
        let Some(listener) = self.listeners.get(listener) else { return Err(NotAccepted::Nobody) };
        let mut address = std::mem::MaybeUninit::<libc::sockaddr_storage>::uninit();
        let mut length = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
        // SAFETY: `address` has room for `length` bytes, and both live through the call.
        let descriptor = unsafe {
            libc::accept4(
                listener.as_raw_fd(),
                address.as_mut_ptr().cast(),
                &raw mut length,
                libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC,
            )
        };
        if descriptor < 0 {
            let error = io::Error::last_os_error();
            return Err(match error.raw_os_error() {
                Some(libc::EAGAIN) => NotAccepted::Nobody,
                Some(libc::EMFILE | libc::ENFILE) => NotAccepted::NoDescriptor,
                _ => NotAccepted::Failed(error),
            });
        }
        // SAFETY: accept4 succeeded, so it wrote an address of a family it named.
        let address = unsafe { peer_of(address.assume_init_ref()) };
        Ok((Socket(descriptor), address))
    }

    fn accept_and_close(&mut self, listener: usize) -> bool {
        self.reserve = None;
        let accepted = self.accept(listener);
        let any = match accepted {
            Ok((socket, _)) => {
                self.close(socket);
                true
            }
            Err(_) => false,
        };
        self.reserve = open_reserve();
        any
    }

    fn register(&mut self, socket: Socket, token: u64) -> io::Result<()> {
        self.poll.registry().register(&mut SourceFd(&socket.0), Token(token as usize), Interest::READABLE)
    }

    fn watch_writable(&mut self, socket: Socket, token: u64, on: bool) -> io::Result<()> {
        let interest = if on { Interest::READABLE | Interest::WRITABLE } else { Interest::READABLE };
        self.poll.registry().reregister(&mut SourceFd(&socket.0), Token(token as usize), interest)
    }

    fn receive(&mut self, socket: Socket, buffer: &mut [u8]) -> io::Result<usize> {
        // SAFETY: the pointer and length are of one live, writable slice.
        let count = unsafe { libc::recv(socket.0, buffer.as_mut_ptr().cast(), buffer.len(), 0) };
        result(count)
    }

    fn send(&mut self, socket: Socket, bytes: &[u8]) -> io::Result<usize> {
        // SAFETY: the pointer and length are of one live slice.
        let count = unsafe { libc::send(socket.0, bytes.as_ptr().cast(), bytes.len(), libc::MSG_NOSIGNAL) };
        result(count)
    }

    fn send_pieces(&mut self, socket: Socket, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        // SAFETY: a message header of zeros is a valid one without address, pieces or control data.
        let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
        // std guarantees that IoSlice has the layout of iovec.
        message.msg_iov = pieces.as_ptr().cast_mut().cast();
        message.msg_iovlen = pieces.len();
        // SAFETY: the header points at live slices, and sendmsg only reads them.
        let count = unsafe { libc::sendmsg(socket.0, &raw const message, libc::MSG_NOSIGNAL) };
        result(count)
    }

    fn shut_write(&mut self, socket: Socket) {
        // SAFETY: a plain system call on a descriptor that this shard owns. Failure means that the peer is gone already.
        unsafe { libc::shutdown(socket.0, libc::SHUT_WR) };
    }

    fn close(&mut self, socket: Socket) {
        // SAFETY: the shard owns the descriptor and forgets it now; nothing else closes it.
        unsafe { libc::close(socket.0) };
    }

    fn leave_listeners(&mut self) -> io::Result<bool> {
        if self.shared && !self.left {
            for listener in &self.listeners {
                self.poll.registry().deregister(&mut SourceFd(&listener.as_raw_fd()))?;
            }
            self.left = true;
        }
        Ok(self.left)
    }

    fn take_back_listeners(&mut self) -> io::Result<()> {
        if std::mem::take(&mut self.left) {
            self.watch_listeners()?;
        }
        Ok(())
    }

    fn close_listeners(&mut self) {
        // The poll watches what is open, and a shared listener stays open elsewhere.
        let _ = self.leave_listeners();
        self.listeners.clear();
    }
}

/// Makes a std listener of a descriptor that this process was started with.
///
/// # Errors
/// When it is not a listening stream socket.
pub fn listener_of(descriptor: RawFd) -> io::Result<TcpListener> {
    // SAFETY: wrapped so that it is not closed if it turns out not to be ours; it is only asked what it is.
    let socket = ManuallyDrop::new(unsafe { socket2::Socket::from_raw_fd(descriptor) });
    if socket.r#type()? != socket2::Type::STREAM || !socket.is_listener()? {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a listening stream socket"));
    }
    let socket = ManuallyDrop::into_inner(socket);
    socket.set_nonblocking(true)?;
    socket.set_cloexec(true)?;
    // SAFETY: the descriptor was just released by its only owner.
    Ok(unsafe { TcpListener::from_raw_fd(socket.into_raw_fd()) })
}

/// The kernel hands a connection over when its first bytes are there, or after `timeout` (tcp(7), TCP_DEFER_ACCEPT).
///
/// # Errors
/// When the kernel refuses.
pub fn set_defer_accept(socket: &socket2::Socket, timeout: Duration) -> io::Result<()> {
    let seconds = timeout.as_secs() as libc::c_int;
    // SAFETY: the option's value is one int, and is read during the call only.
    let failed = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_DEFER_ACCEPT,
            (&raw const seconds).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    if failed == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Makes the kernel allocate the process's descriptor table for `limit` descriptors now, while it has one thread: growing
/// it later, with threads that share it, stalls them for milliseconds each time.
pub fn grow_descriptor_table(limit: u64) {
    /// Eight bytes of table each: beyond this the memory is better spent when it is needed.
    const GROWN_MAX: u64 = 4 << 20;
    let highest = limit.clamp(4, GROWN_MAX) - 1;
    let Ok(highest) = libc::c_int::try_from(highest) else { return };
    // SAFETY: duplicates standard error to the lowest free descriptor from `highest` on, and closes that again.
    unsafe {
        let copy = libc::fcntl(2, libc::F_DUPFD_CLOEXEC, highest);
        if copy >= 0 {
            libc::close(copy);
        }
    }
}

fn open_reserve() -> Option<File> {
    File::open("/dev/null").ok()
}

fn result(count: isize) -> io::Result<usize> {
    usize::try_from(count).map_err(|_| io::Error::last_os_error())
}

/// # Safety
/// `storage` must hold an address as accept wrote it.
unsafe fn peer_of(storage: &libc::sockaddr_storage) -> IpAddr {
    match i32::from(storage.ss_family) {
        libc::AF_INET => {
            // SAFETY: the family says that it is this.
            let v4 = unsafe { &*(&raw const *storage).cast::<libc::sockaddr_in>() };
            IpAddr::from(u32::from_be(v4.sin_addr.s_addr).to_be_bytes())
        }
        libc::AF_INET6 => {
            // SAFETY: the family says that it is this.
            let v6 = unsafe { &*(&raw const *storage).cast::<libc::sockaddr_in6>() };
            // A listener taken from LISTEN_FDS may serve both families: a mapped address is its IPv4 one.
            IpAddr::from(v6.sin6_addr.s6_addr).to_canonical()
        }
        // A listener of another family can only have come by LISTEN_FDS: its peers have no address.
        _ => IpAddr::from([0, 0, 0, 0]),
    }
}
