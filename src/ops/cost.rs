//! What a connection costs: memory, kernel memory and processor time, each with where the figure comes from.
//!
//! Owns the figures that sizing, the doctor and the simulation calculate with. Never measures.

pub use crate::config::OTHER_DESCRIPTORS;

/// The node's own memory for an idle connection that is registered in Redis, bytes: identity, lifetime, timer and index. The
/// slope of the nodes' resident memory from 100,000 connections to a million, `make million` (docs/reports/README.md); with the
/// registry in memory 103 to 105 (benches/README.md).
pub const USER_BYTES: u64 = 113;

/// Kernel memory of an accepted, polled IPv4 socket that is idle, bytes: socket, inode, file, directory entry and entries of epoll
/// in whole pages of slab. Measured on Linux 6.18 with a security module; without one 56 less. An idle socket has no buffers.
pub const KERNEL_BYTES: u64 = 4_037;

/// Both: the least that a connection takes.
pub const CONNECTION_BYTES: u64 = USER_BYTES + KERNEL_BYTES;

/// What a connection took where a million came, left and came back, bytes: the node's part, and half of the 10.1 kB that the
/// kernel held for both ends (`make million`, docs/reports/README.md). Slabs that are partly used make the difference. A fleet is
/// sized by this one.
pub const CONNECTION_BYTES_IN_USE: u64 = USER_BYTES + 5_050;

/// Kernel memory that a connection holds while its client does not read a message of up to a page, in pages of `tcp_mem`.
pub const UNREAD_PAGES: u64 = 1;

/// Kernel memory of a tracked connection, bytes, where `nf_conntrack` is active.
pub const TRACKED_BYTES: u64 = 320;

/// What a node needs before its first connection, bytes: program, threads, tables, the clients of registry and queue.
pub const NODE_BYTES: u64 = 64_000_000;

/// What a node's buffers may take when clients are slow, bytes: the default of `limits.buffer_bytes`.
pub const BUFFER_BYTES: u64 = 256 << 20;

/// The share of a host's memory that a node uses before it sheds: the default of `limits.memory`.
pub const MEMORY_SHARE: f64 = 0.9;

/// Memory of what ends TLS in front, bytes an idle connection: 17,500 of HAProxy 2.6 with OpenSSL 3.0 and TLS 1.3, which gives its
/// buffers back while idle, and its two sockets in the kernel. docs/size.md has how it was measured. Proxies that keep their buffers
/// take 50 to 155 kB: measure your own.
pub const TLS_BYTES: u64 = 26_000;

/// Processor time of a handshake on the node, µs, the registry in Redis included: `cargo bench --bench cluster -- registrations`
/// (benches/README.md: 18.0 to 18.5), and a fifth more, as loopback charges some of the kernel's work to the client.
pub const HANDSHAKE_CPU_US: f64 = 22.0;

/// Handshakes that a core is trusted with, per second. [`HANDSHAKE_CPU_US`] alone would be 45,000: the rest is for the network
/// card's interrupts, for tokens that are verified, and for messages meanwhile.
pub const HANDSHAKES_PER_CORE: f64 = 10_000.0;

/// Handshakes of TLS that a core is trusted with, per second, the way to the node included: full ones with ECDSA on P-256, none
/// resumed. Measured: 590 µs, which is 1,700, as [`TLS_BYTES`]. RSA of 2,048 bits takes several times as much.
pub const TLS_HANDSHAKES_PER_CORE: f64 = 1_500.0;

/// Registrations that one master of Redis is trusted with, per second. It takes 9.0 µs for one (`cargo bench --bench cluster --
/// registrations`), which is 110,000; half of it, as there are lookups besides.
pub const REGISTRATIONS_PER_MASTER: f64 = 50_000.0;

/// What a connection costs Redis, bytes: a user and a device with names of 16 bytes, the user's one device, with its share of the
/// tables of keys and of expiries (`cargo bench --bench cluster -- registrations`, benches/README.md).
pub const REGISTRY_BYTES: u64 = 213;

/// Processor time of a ping and its answer on the node, µs: a write of 6.6 (benches/README.md, the null server's), a read, and a
/// turn of the timer.
pub const PING_CPU_US: f64 = 15.0;

/// How often a connection is pinged, seconds: the default of `clients.ping`.
pub const PING_EVERY_S: f64 = 50.0;

/// Connections from one address to one address and port: source ports from 1024 on, with one to spare.
pub const SOURCE_PORTS: u64 = 64_511;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn what_is_said_to_be_a_default_is_one() {
        let config = Config::default();
        assert_eq!(config.limits.buffer_bytes as u64, BUFFER_BYTES);
        assert_eq!(f64::from(config.limits.memory_percent) / 100.0, MEMORY_SHARE);
        assert_eq!(config.clients.ping_ms as f64 / 1e3, PING_EVERY_S);
    }
}
