//! The internal port from outside, over real sockets, with a shard that answers as it is told.

mod admin;
mod deliver;
mod elsewhere;
mod harness;
mod page;
mod pushes;
mod streams;
mod tickets;
mod zuul;
