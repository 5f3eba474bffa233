//! Domain-free building blocks: no domain word, no clock, no descriptor.
