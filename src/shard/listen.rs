//! The client port's listeners: one per shard and address, options set once and inherited by every connection. And the
//! internal port's, which has nothing of these but the length of its queue.

use super::net_mio::{listener_of, set_defer_accept};
use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};
use std::{
    io,
    net::{SocketAddr, TcpListener},
    os::fd::RawFd,
    time::Duration,
};

/// Accepted connections that wait for us, per listener; the kernel caps it to `net.core.somaxconn`.
const BACKLOG: i32 = 65_535;
/// The kernel hands over a connection when its request is there, or after so long without: the handshake's own time-out
/// then runs.
const DEFER_ACCEPT: Duration = Duration::from_secs(5);
/// Bytes of ours that stay unanswered so long end the connection: how a dead peer of an event stream is found.
const USER_TIMEOUT: Duration = Duration::from_secs(30);
/// The kernel holds at most so many unsent bytes before it stops being writable: the rest waits where it can still be
/// replaced or dropped.
const NOTSENT_LOWAT: u32 = 16 * 1_024;
/// The first descriptor that a supervisor passes on (sd_listen_fds(3)).
const LISTEN_FDS_START: RawFd = 3;
/// What its descriptor of the internal port is called (`FileDescriptorName=` of a socket unit).
const INTERNAL_NAME: &str = "internal";

/// The listeners of one shard for all client addresses. With port 0 the first shard's choice is the others' too: pass the
/// addresses that it returns.
///
/// # Errors
/// When an address cannot be bound; the error names it.
pub fn bind_all(addresses: &[SocketAddr]) -> io::Result<Vec<TcpListener>> {
    addresses.iter().map(|&address| bind(address)).collect()
}

/// One listener.
///
/// # Errors
/// When the address cannot be bound; the error names it.
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    listen(address).map_err(|error| {
        let hint = match error.kind() {
            io::ErrorKind::AddrInUse => "; is another node running? choose another port with --clients",
            io::ErrorKind::PermissionDenied => "; ports below 1024 need CAP_NET_BIND_SERVICE",
            io::ErrorKind::AddrNotAvailable => "; this host has no such address",
            _ => "",
        };
        io::Error::new(error.kind(), format!("cannot listen on {address}: {error}{hint}"))
    })
}

/// The internal port's listener. The standard library's would queue 128 senders; who comes beyond that, in a burst, is tried
/// again by his kernel a second later.
///
/// # Errors
/// When the address cannot be bound.
pub fn bind_internal(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Listeners that a supervisor opened before this process began.
#[derive(Default)]
pub struct Inherited {
    /// For clients.
    pub clients: Vec<TcpListener>,
    /// For senders: the one that is named `internal`.
    pub internal: Option<TcpListener>,
}

/// What this process was started with (`LISTEN_FDS`, sd_listen_fds(3)), so that a restart refuses nobody. Empty where there is
/// nothing, or it is another process's.
///
/// # Errors
/// When one is not a listening stream socket, or `LISTEN_FDNAMES` does not name each.
pub fn inherited() -> io::Result<Inherited> {
    let number = |name: &str| std::env::var(name).ok()?.parse::<u32>().ok();
    let mut inherited = Inherited::default();
    if number("LISTEN_PID").is_some_and(|pid| pid != std::process::id()) {
        return Ok(inherited);
    }
    let count = number("LISTEN_FDS").unwrap_or(0);
    let internal = internal_of(std::env::var("LISTEN_FDNAMES").ok().as_deref(), count)?;
    for at in 0..count {
        let descriptor = LISTEN_FDS_START + at as RawFd;
        let listener = listener_of(descriptor).map_err(|error| {
            io::Error::new(error.kind(), format!("LISTEN_FDS descriptor {descriptor}: {error}"))
        })?;
        let socket = socket2::SockRef::from(&listener);
        // A supervisor's queue may be as short as 128.
        socket.listen(BACKLOG)?;
        if internal == Some(at) {
            inherited.internal = Some(listener);
        } else {
            // A listener of another family than IP has none of them.
            let _ = set_inherited_options(&socket);
            inherited.clients.push(listener);
        }
    }
    Ok(inherited)
}

/// Which of `count` descriptors is the internal port's; `names` are separated by colons.
fn internal_of(names: Option<&str>, count: u32) -> io::Result<Option<u32>> {
    let Some(names) = names.filter(|names| !names.is_empty() && count > 0) else { return Ok(None) };
    let invalid = |problem: String| io::Error::new(io::ErrorKind::InvalidInput, problem);
    let names: Vec<&str> = names.split(':').collect();
    if names.len() != count as usize {
        let problem =
            format!("LISTEN_FDNAMES has {} names for {count} descriptors of LISTEN_FDS", names.len());
        return Err(invalid(problem));
    }
    let mut internal = (0..count).zip(names).filter(|(_, name)| *name == INTERNAL_NAME).map(|(at, _)| at);
    let first = internal.next();
    match internal.next() {
        None => Ok(first),
        Some(_) => {
            Err(invalid(format!("LISTEN_FDNAMES names two descriptors {INTERNAL_NAME}: expected one")))
        }
    }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    if address.is_ipv6() {
        // An IPv4 client on an IPv6 socket costs the kernel more memory: each family has its own listener.
        socket.set_only_v6(true)?;
    }
    set_inherited_options(&socket)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// Options that Linux copies from a listener to what it accepts: no system call per connection.
fn set_inherited_options(socket: &Socket) -> io::Result<()> {
    socket.set_tcp_nodelay(true)?;
    let keepalive = TcpKeepalive::new()
        .with_time(Duration::from_secs(120))
        .with_interval(Duration::from_secs(30))
        .with_retries(4);
    socket.set_tcp_keepalive(&keepalive)?;
    socket.set_tcp_user_timeout(Some(USER_TIMEOUT))?;
    socket.set_tcp_notsent_lowat(NOTSENT_LOWAT)?;
    set_defer_accept(socket, DEFER_ACCEPT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_descriptor_named_internal_is_the_internal_ports() {
        for (names, count, expected) in [
            (None, 2, Ok(None)),
            (Some(""), 1, Ok(None)),
            (Some("anything"), 0, Ok(None)),
            (Some("holdfast.socket"), 1, Ok(None)),
            (Some("internal"), 1, Ok(Some(0))),
            (Some("clients:clients:internal"), 3, Ok(Some(2))),
            (Some("clients:internal"), 3, Err("2 names for 3")),
            (Some("internal:clients:internal"), 3, Err("expected one")),
        ] {
            match (internal_of(names, count), expected) {
                (Ok(at), Ok(expected)) => assert_eq!(at, expected, "{names:?}"),
                (Err(error), Err(words)) => assert!(error.to_string().contains(words), "{error}"),
                (found, expected) => panic!("{names:?}: {found:?}, not {expected:?}"),
            }
        }
    }
}
