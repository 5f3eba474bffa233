//! How many nodes a fleet should have, asked of its nodes or of its registry, and told to a person or to an autoscaler.

pub mod policy;
