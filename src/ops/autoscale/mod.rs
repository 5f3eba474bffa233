//! How many nodes a fleet should have, asked of its nodes or of its registry, and told to a person or to an autoscaler.
//!
//! [`policy`] is the rule, [`decide`] applies it to what is [`seen`], look after look; [`registry`] looks and [`serve`] tells.

pub mod decide;
pub mod lag;
pub mod policy;
pub mod registry;
pub mod seen;
pub mod serve;
