//! The event loop of one core: the only client socket I/O.
