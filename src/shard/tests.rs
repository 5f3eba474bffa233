//! Shards on the simulated network of [`crate::sim`]: every rule of a connection's life, seen from the client's end of its
//! socket.

mod closing;
mod delivering;
mod handshaking;
mod leaving;
mod living;
mod overload;
mod reloading;
mod spending;
mod sweeping;
mod taking_over;
mod waiting;
