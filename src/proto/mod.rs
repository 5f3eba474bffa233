//! Wire formats: bytes in, values out. No state between connections, no clock, no descriptor.

pub mod deflate;
pub mod http;
pub mod proxy;
pub mod sse;
pub mod ws;
