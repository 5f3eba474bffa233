//! Senders against the embedded broker: the library, the command, and what the pages say of clients in other languages.
//!
//! A consumer reads what they sent, as a node would.

mod command;
mod library;
mod offline;
mod pages;
mod records;

// The other targets use more of them.
#[allow(dead_code)]
#[path = "../e2e/client.rs"]
mod client;
#[allow(dead_code)]
#[path = "../e2e/http.rs"]
mod http;
#[allow(dead_code)]
#[path = "../e2e/node.rs"]
mod node;
#[allow(dead_code)]
#[path = "../e2e/npm.rs"]
mod npm;
#[allow(dead_code)]
#[path = "../e2e/python.rs"]
mod python;
