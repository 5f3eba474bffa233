//! The event loop of one core: the only client socket I/O.

pub mod listen;
pub mod net;
pub mod net_mio;
