//! What a lane is called, and its topic.

/// The lanes of the default configuration, highest first.
pub const LANES: [&str; 3] = ["high", "normal", "low"];

/// The topics of a test that shares its brokers with others.
pub fn topics(test: &str) -> [String; 3] {
    LANES.map(|lane| format!("{test}.push.{lane}"))
}

/// The number of a lane.
pub fn lane_of(name: &str) -> usize {
    LANES.iter().position(|lane| *lane == name).unwrap_or_else(|| panic!("no lane {name}"))
}
