//! Sockets: how one is made, and the options that need the C library.
#![allow(unsafe_code)]

use super::tally::Failure;
use socket2::{Domain, SockRef, Socket, Type};
use std::{
    io,
    net::{IpAddr, SocketAddr, TcpStream},
    os::fd::AsRawFd,
    time::Duration,
};

/// What a client that reads slowly leaves the kernel for what comes, bytes.
const NARROW_BYTES: usize = 16 * 1024;

/// What it leaves once it hurries, bytes.
const WIDE_BYTES: usize = 256 * 1024;

/// Begins to connect, and does not wait.
///
/// # Errors
/// When the kernel has no port, no descriptor or no route.
pub fn connect(source: Option<IpAddr>, target: SocketAddr, narrow: bool) -> Result<TcpStream, Failure> {
    let failure = |error| Failure::of(&error);
    let socket =
        Socket::new(Domain::for_address(target), Type::STREAM.nonblocking(), None).map_err(failure)?;
    if let Some(source) = source {
        bind_without_port(&socket).map_err(failure)?;
        socket.bind(&SocketAddr::new(source, 0).into()).map_err(|_| Failure::NoSource)?;
    }
    if narrow {
        socket.set_recv_buffer_size(NARROW_BYTES).map_err(failure)?;
    }
    match socket.connect(&target.into()) {
        Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => Err(failure(error)),
        _ => Ok(socket.into()),
    }
}

/// Has the kernel choose the port when it connects, when it knows the other end: else an address's ports would be used up
/// once for all targets together (ip(7), `IP_BIND_ADDRESS_NO_PORT`).
fn bind_without_port(socket: &Socket) -> io::Result<()> {
    let on: libc::c_int = 1;
    // SAFETY: the descriptor is open as long as `socket` is borrowed; the value is a c_int of the length that is said.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_IP,
            libc::IP_BIND_ADDRESS_NO_PORT,
            std::ptr::from_ref(&on).cast(),
            size_of_val(&on) as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Has the kernel drop whatever comes for the socket, even a FIN or a reset, and so acknowledge nothing: to the other side
/// this machine is gone (socket(7), `SO_ATTACH_FILTER`, which needs no privilege).
///
/// # Errors
/// When the kernel has no memory for the filter.
pub fn deafen(stream: &TcpStream) -> io::Result<()> {
    // "Keep 0 bytes of it."
    let mut program = [libc::sock_filter { code: (libc::BPF_RET | libc::BPF_K) as u16, jt: 0, jf: 0, k: 0 }];
    let filter = libc::sock_fprog { len: 1, filter: program.as_mut_ptr() };
    // SAFETY: the descriptor is open as long as `stream` is borrowed; the value is a sock_fprog of the length that is said,
    // whose one instruction outlives the call, in which the kernel copies it.
    let result = unsafe {
        libc::setsockopt(
            stream.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_FILTER,
            std::ptr::from_ref(&filter).cast(),
            size_of_val(&filter) as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Has the socket end with a reset when it is closed.
pub fn reset_on_close(stream: &TcpStream) {
    // A socket that is gone already needs no reset.
    let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
}

/// Takes back what `narrow` did.
pub fn widen(stream: &TcpStream) {
    // A socket that is gone needs no room.
    let _ = SockRef::from(stream).set_recv_buffer_size(WIDE_BYTES);
}
