//! The endpoint that is asked who a client is, where `auth.mode` has `http`.
//!
//! Owns everything between a question and its answer: the thread, the connections to the endpoint, the bounds, what is known
//! already, and when the endpoint is left alone. It gives each question's [`crate::model::Judgement`] exactly once. It does not
//! know what a client wanted, and what becomes of it.
//!
//! What is decided is decided by the [`desk`], which is pure; the thread carries it out.

pub mod breaker;
mod cache;
mod client;
pub mod credential;
pub mod desk;
pub mod probe;
mod reply;
mod thread;

pub use thread::{CalloutThread, Mail};
