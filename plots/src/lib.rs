//! Pages with plots that need nothing else (no other file, no network, no script to be read), and numbers as people read them.
//!
//! A [`Plot`] has [`Line`]s between two [`Axis`]es; [`page`] puts what is on a page into its style. Drawn here, as the
//! libraries that draw fix colours and text sizes, which rules out dark mode and phones. Knows nothing of what is shown.

mod axis;
mod page;
mod plot;
mod style;
mod thin;
pub mod words;

pub use axis::{Axis, Scale, is_sane};
pub use page::page;
pub use plot::{Line, Look, Plot};
pub use thin::Thinned;
