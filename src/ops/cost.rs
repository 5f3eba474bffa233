//! What a connection costs and what a node keeps besides: the figures that all arithmetic about hosts rests on.
//!
//! Owns the constants and where each comes from.

/// Memory of the process for an idle connection, identity and lifetime included, bytes: the budget that the benchmarks hold
/// the server to. Measured: 105.
pub const USER_BYTES: u64 = 112;

/// Kernel memory of an accepted, polled IPv4 socket that is idle, bytes: socket, inode, file, directory entry and entries
/// of epoll in whole pages of slab. Measured on Linux 6.18 with a security module; without one 56 less.
pub const KERNEL_BYTES: u64 = 4_037;

/// Both.
pub const CONNECTION_BYTES: u64 = USER_BYTES + KERNEL_BYTES;

/// What a node needs before its first connection, bytes: program, threads, tables, the clients of registry and queue.
pub const NODE_BYTES: u64 = 64_000_000;

/// Descriptors that a node keeps for everything that is not a client: `limits.connections` is cut to the limit less these.
pub const OTHER_DESCRIPTORS: u64 = 256;

/// Connections from one address to one address and port: source ports from 1024 on, with one to spare.
pub const SOURCE_PORTS: u64 = 64_511;

/// Kernel memory that a connection holds while its client does not read a message of up to a page, in pages of `tcp_mem`.
pub const UNREAD_PAGES: u64 = 1;

/// Kernel memory of a tracked connection, bytes, where `nf_conntrack` is active.
pub const TRACKED_BYTES: u64 = 320;

/// What a connection costs Redis, bytes: a user and a device with names of 16 bytes, the user's one device.
pub const REGISTRY_BYTES: u64 = 152;
