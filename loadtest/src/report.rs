//! What a run has to say: as text for people and as JSON for machines.

mod compare;
mod file;
mod html;
mod latency;
pub mod model;
mod slope;
mod text;

pub use compare::{Change, Comparison, Difference, Word, compare};
pub use html::html;
pub use slope::{Slope, slope};
pub use text::text;
