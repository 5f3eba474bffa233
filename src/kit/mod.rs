//! Domain-free building blocks: no domain word, no clock, no descriptor.
//!
//! - [`arena`]: short byte strings packed in pages that never move
//! - [`completion`]: outcomes of posted requests, each with its place reserved beforehand
//! - [`exponential`]: the exponential distribution between two bounds
//! - [`mailbox`]: a bounded mailbox with priority lanes and coalesced wakes, on which nobody waits for room
//! - [`mutant`]: deliberate defects, which tests switch on and the server does not have
//! - [`random`]: seeded randomness
//! - [`slab`]: generational slots in chunks that never move
//! - [`time`]: coarse monotonic time as an argument
//! - [`token_bucket`]: a rate limit with a burst
//! - [`wheel`]: a hierarchical timing wheel whose nodes live in the caller's entries
//! - [`window`]: values under rising numbers, without hashing

pub mod arena;
pub mod completion;
pub mod exponential;
pub mod mailbox;
pub mod mutant;
pub mod random;
pub mod slab;
pub mod time;
pub mod token_bucket;
pub mod wheel;
pub mod window;
