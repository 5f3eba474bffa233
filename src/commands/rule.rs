//! The autoscaler's rule as flags: what a fleet is to be like, for the command that says so and the one that simulates it.

use crate::{
    config::duration::parse_ms,
    ops::{
        amount,
        autoscale::policy::{Patience, Policy},
    },
};
use std::time::Duration;

/// The rule. How many nodes there may be at all is for whoever asks to say.
#[derive(clap::Args)]
pub struct Rule {
    /// Share of a node's capacity that is aimed at
    #[arg(long, value_name = "SHARE", default_value = "0.6", value_parser = amount::parse_share)]
    pub target: f64,
    /// How far above the target, as a share of it, nothing is done
    #[arg(long, value_name = "SHARE", default_value = "0.1", value_parser = amount::parse_share)]
    band: f64,
    /// How far below the target, as a share of it, nothing is done: so far a growing fleet may be ahead
    #[arg(long, value_name = "SHARE", default_value = "0.25", value_parser = amount::parse_share)]
    slack: f64,
    /// Power with which nodes are added above the band; 1 is in proportion
    #[arg(long, value_name = "POWER", default_value_t = 1.5)]
    exponent: f64,
    /// Nodes whose loss must fit
    #[arg(long, value_name = "NODES", default_value_t = 1)]
    spare: u32,
    /// Share to which such a loss may fill the others
    #[arg(long, value_name = "SHARE", default_value = "0.9", value_parser = amount::parse_share)]
    ceiling: f64,
    /// Fewer must be enough for so long before the first node goes
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = duration)]
    patience: Duration,
    /// Between one node's going and the next's
    #[arg(long, value_name = "TIME", default_value = "2m", value_parser = duration)]
    pause: Duration,
}

impl Rule {
    /// With the usual capacity and numbers of nodes.
    pub fn policy(&self) -> Policy {
        Policy {
            target: self.target,
            band: self.band,
            slack: self.slack,
            exponent: self.exponent,
            spare: self.spare,
            ceiling: self.ceiling,
            ..Policy::default()
        }
    }

    /// How slowly it scales in.
    pub fn patience(&self) -> Patience {
        Patience { before_s: self.patience.as_secs_f64(), between_s: self.pause.as_secs_f64() }
    }
}

/// A duration with its unit, above nothing.
///
/// # Errors
/// What to write instead.
pub fn duration(text: &str) -> Result<Duration, String> {
    match parse_ms(text) {
        Some(ms) if ms > 0 => Ok(Duration::from_millis(ms)),
        _ => Err(format!("`{text}` is no duration above nothing: write it with its unit, like 15s or 10m")),
    }
}
