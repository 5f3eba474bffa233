//! How things are called, for people.

use super::{balancer::Balancing, outcome::Figure};
use crate::config::{Distribution, duration::format_ms};
use holdfast_plots::words;
pub use holdfast_plots::words::{count, duration, several};

/// A time as it is typed.
pub fn ms(ms: u64) -> String {
    format_ms(ms)
}

/// So many nodes.
pub fn nodes(count: u32) -> String {
    words::several(u64::from(count), "node")
}

/// A law of lifetimes.
pub fn law(distribution: Distribution) -> &'static str {
    match distribution {
        Distribution::Exponential => "exponential",
        Distribution::Uniform => "uniform",
        Distribution::Zuul => "zuul",
    }
}

/// A balancer's law.
pub fn balancing(law: Balancing) -> &'static str {
    match law {
        Balancing::RoundRobin => "round robin",
        Balancing::Random => "random",
        Balancing::Least => "least connections",
    }
}

/// A figure in words.
pub fn figure(figure: &Figure) -> String {
    match (figure.value, figure.unit) {
        (None, "s") => "never in this time".into(),
        (None, _) => words::NONE.into(),
        (Some(value), "x") => format!("{} x", words::number(value)),
        (Some(value), "share") => format!("{} %", words::number(value * 100.0)),
        (Some(value), unit) => words::figure(value, unit),
    }
}
