//! Shards on a simulated network: every rule of a connection's life, seen from the client's end of its socket.
//!
//! [`fake_net`] is the kernel, [`rig`] a node of real shards on it, [`wire`] a client's side of the protocols.

mod closing;
mod delivering;
mod fake_net;
mod handshaking;
mod leaving;
mod living;
mod overload;
mod random;
mod rig;
mod sweeping;
mod taking_over;
mod wire;
