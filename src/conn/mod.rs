//! The connection state machine, sans-IO: bytes and the time in, actions out.
