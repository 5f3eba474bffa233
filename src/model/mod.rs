//! The words of the product as types: values only, no behaviour that needs a clock, a descriptor or a thread.

pub mod handle;
pub mod identifier;
pub mod identity;
pub mod judgement;
pub mod lane;
pub mod mail;
pub mod message;
pub mod outcome;
pub mod payload;
pub mod protocol;
pub mod question;
pub mod reason;
pub mod ticket;

pub use handle::{ConnectionId, Handle, Incarnation};
pub use identifier::{BadIdentifier, Identifier};
pub use identity::Identity;
pub use judgement::Judgement;
pub use lane::{Lane, LanePolicy, Lanes};
pub use message::{Body, Collapse, Message};
pub use outcome::Outcome;
pub use payload::{BadPayload, Kind};
pub use protocol::Protocol;
pub use question::Question;
pub use reason::Reason;
pub use ticket::{MadeTicket, TicketOrder};
