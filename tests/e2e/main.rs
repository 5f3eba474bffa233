//! The real binary from outside: one node, the ports it serves, and clients that share no code with it.
//!
//! Each test starts a node of its own on ports that the kernel picks, with times compressed, and waits for what it
//! expects until a deadline. The protocols' other ends are in `client` and `http`, written from the RFCs.

mod activation;
mod admin_odd;
mod admin_page;
mod admin_picture;
mod auth;
mod away;
mod browser;
mod bystander;
mod callout;
mod chromium;
// The fleet's tests use more of it.
#[allow(dead_code)]
mod client;
mod clients;
mod connecters;
mod contract;
mod crowd;
mod demo;
mod devices;
mod doctor;
mod drain;
mod endpoint;
mod first_frame;
mod floods;
mod frames;
mod handshake;
mod hostile;
// The fleet's tests use more of it.
#[allow(dead_code)]
mod http;
mod leak;
mod lifetime;
mod limits;
mod load;
mod loadtest;
mod scenarios;
mod secrets;
// The fleet's tests use more of it.
#[allow(dead_code)]
mod namespace;
// The same.
#[allow(dead_code)]
mod node;
mod npm;
mod pages;
mod proxy;
mod push;
mod python;
mod reload;
mod slow;
mod soak;
mod sse;
mod tab;
mod tickets;
mod zuul;
