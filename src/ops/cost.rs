//! What a connection costs: memory, kernel memory and processor time, each with where the figure comes from.
//!
//! Owns the figures that sizing, the doctor and the simulation calculate with. They are cautious: of two measurements the
//! dearer stands here. Never measures.

/// The node's own memory for an idle connection that is registered in Redis, bytes: identity, lifetime, timer and index. The
/// slope of the nodes' resident memory from 100,000 connections to a million, `make million` (docs/reports/README.md); with the
/// registry in memory 103 to 105 (benches/README.md).
pub const USER_BYTES: f64 = 113.0;

/// Memory of the kernel for the node's end of an idle connection, bytes: socket, inode, file, and its entries in epoll. Half of
/// what both ends took in `make million` (docs/reports/README.md); what slabs alone show is 3,850 to 4,040 on Linux 6.18. An idle
/// socket has no buffers.
pub const KERNEL_BYTES: f64 = 5_050.0;

/// Kernel memory that a message takes for as long as its client has not read it, bytes: one page. So much must be free for each
/// connection before a broadcast to clients that do not read.
pub const UNREAD_BYTES: f64 = 4_096.0;

/// What a node's process takes before the first connection, bytes: code, threads, the allocator, Kafka's client, and
/// `limits.buffer_bytes` (256 MiB), which buffers may grow to.
pub const PROCESS_BYTES: f64 = 384.0 * 1024.0 * 1024.0;

/// The share of a host's memory that a node uses before it sheds: the default of `limits.memory`.
pub const MEMORY_SHARE: f64 = 0.9;

/// Memory of what ends TLS in front, bytes a connection: its state of TLS, its buffers, and its two sockets in the kernel. Not
/// measured here: proxies differ between 15 kB (buffers given back while idle) and 155 kB (none given back), and HAProxy with
/// its default buffers is near this. Measure your own.
pub const TLS_BYTES: f64 = 50_000.0;

/// Processor time of a handshake on the node, µs, the registry in Redis included: `cargo bench --bench cluster -- registrations`
/// (benches/README.md: 18.0 to 18.5), and a fifth more, as loopback charges some of the kernel's work to the client.
pub const HANDSHAKE_CPU_US: f64 = 22.0;

/// Handshakes that a core is trusted with, per second. [`HANDSHAKE_CPU_US`] alone would be 45,000: the rest is for the network
/// card's interrupts, for tokens that are verified, and for messages meanwhile.
pub const HANDSHAKES_PER_CORE: f64 = 10_000.0;

/// Handshakes of TLS that a core is trusted with, per second: full ones with ECDSA on P-256, not resumed. RSA of 2,048 bits has a
/// fifth. `openssl speed ecdsap256` says what yours does.
pub const TLS_HANDSHAKES_PER_CORE: f64 = 2_000.0;

/// Registrations that one master of Redis is trusted with, per second. It takes 9.0 µs for one (`cargo bench --bench cluster --
/// registrations`), which is 110,000; half of it, as there are lookups besides.
pub const REGISTRATIONS_PER_MASTER: f64 = 50_000.0;

/// Memory of Redis for a device that is registered, bytes, with names of 16 bytes (docs/fleet.md).
pub const REGISTRY_BYTES: f64 = 152.0;

/// Processor time of a ping and its answer on the node, µs: a write of 6.6 (benches/README.md, the null server's), a read, and a
/// turn of the timer.
pub const PING_CPU_US: f64 = 15.0;

/// How often a connection is pinged, seconds: the default of `clients.ping`.
pub const PING_EVERY_S: f64 = 50.0;

/// Connections from one address of a balancer to one port of a node: ports from 1,024 to 65,535.
pub const PORTS_PER_ADDRESS: u64 = 64_512;

/// Descriptors of a node that no connection gets: the difference that `limits.connections` is cut by.
pub const DESCRIPTORS_KEPT: u64 = 256;

/// Memory of a host that one idle connection takes, bytes; without what ends TLS.
pub fn connection_bytes() -> f64 {
    USER_BYTES + KERNEL_BYTES
}
