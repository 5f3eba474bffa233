//! Domain-free building blocks: no domain word, no clock, no descriptor.

/// Short byte strings packed in pages that never move.
pub mod arena;
/// Outcomes of posted requests, each with its place reserved beforehand.
pub mod completion;
/// A bounded mailbox with priority lanes and coalesced wakes, on which nobody waits for room.
pub mod mailbox;
/// Seeded randomness.
pub mod random;
/// Generational slots in chunks that never move.
pub mod slab;
/// Coarse monotonic time as an argument.
pub mod time;
/// Rate limiting with a burst.
pub mod token_bucket;
/// A hierarchical timing wheel whose nodes live in the caller's entries.
pub mod wheel;
