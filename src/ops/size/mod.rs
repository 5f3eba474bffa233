//! Which nodes, and how many: the goldilocks question. Few large nodes are cheap and hurt when one is lost; many small ones
//! cost more and take long to deploy.
//!
//! Compares fleets of different types by what they cost and by what the loss of a node does to the rest, and recommends one. Pure:
//! types and a question in, an answer out, which [`text`], [`page`] and [`json`] show.

mod choose;
mod fleet;
mod json;
mod page;
mod question;
mod text;
mod types;

pub use choose::{Answer, Front, Role, Row, answer};
pub use fleet::{Bound, Brake, Capacity, Fault, Fleet, Loss, Told, capacity, handshakes};
pub use json::json;
pub use page::page;
pub use question::{Question, Tls};
pub use text::text;
pub use types::{BadTypes, EXAMPLES, NodeType, TypeList, parse};

#[cfg(test)]
mod tests;
