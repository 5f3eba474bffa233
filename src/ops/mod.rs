//! What operators run beside nodes: it knows nodes by what they answer, and hosts by what their files say.
//!
//! Owns judgements: is the host fit, how many nodes, what is going on. Never serves a client, never changes a node.

pub mod fleet;
