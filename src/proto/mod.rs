//! Wire formats: bytes in, values out. No state between connections, no clock, no descriptor.
