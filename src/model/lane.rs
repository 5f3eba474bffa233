//! Lanes: the priorities of messages, highest first, as configured.

/// The most lanes a node may have: each has its own share of every mailbox.
pub const LANES_MAX: usize = 8;

/// Index of a lane in [`Lanes`]; 0 is the highest.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Lane(pub u8);

/// What happens to a message that does not fit a connection's outbox.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum LanePolicy {
    /// The new message is dropped: its outcome is `slow`.
    #[default]
    Drop,
    /// An older message with the same collapse key gives way; without one, as `Drop`.
    Replace,
    /// The connection is closed with 1013.
    Close,
}

/// One lane's settings.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LaneConfig {
    /// `[a-z0-9-]{1,32}`; the metric label.
    pub name: String,
    /// What happens when an outbox is full.
    pub policy: LanePolicy,
    /// Life of a message that brings no `ttl` of its own, ms; None: for ever.
    pub ttl_ms: Option<u64>,
}

/// All lanes, highest first. Never empty, at most [`LANES_MAX`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Lanes {
    lanes: Vec<LaneConfig>,
    default: Lane,
}

impl Lanes {
    /// Takes the lanes, highest first; the default is `normal` where there is one, else the middle one.
    ///
    /// # Panics
    /// When there are none or more than [`LANES_MAX`]: the configuration was checked before.
    pub fn new(lanes: Vec<LaneConfig>) -> Self {
        assert!((1..=LANES_MAX).contains(&lanes.len()), "1 to {LANES_MAX} lanes");
        let middle = (lanes.len() - 1).div_ceil(2);
        let default = lanes.iter().position(|lane| lane.name == "normal").unwrap_or(middle);
        Self { lanes, default: Lane(default as u8) }
    }

    /// The lane of a message that names none.
    pub fn default_lane(&self) -> Lane {
        self.default
    }

    /// The lowest lane: the first to be shed.
    pub fn lowest(&self) -> Lane {
        Lane(self.lanes.len() as u8 - 1)
    }

    /// Finds a lane by its name.
    pub fn by_name(&self, name: &str) -> Option<Lane> {
        self.lanes.iter().position(|lane| lane.name == name).map(|at| Lane(at as u8))
    }

    /// A lane's settings.
    pub fn config(&self, lane: Lane) -> &LaneConfig {
        &self.lanes[usize::from(lane.0)]
    }

    /// All lanes, highest first.
    pub fn iter(&self) -> impl Iterator<Item = (Lane, &LaneConfig)> {
        self.lanes.iter().enumerate().map(|(at, lane)| (Lane(at as u8), lane))
    }

    /// How many there are.
    #[allow(clippy::len_without_is_empty, reason = "never empty")]
    pub fn len(&self) -> usize {
        self.lanes.len()
    }
}

impl Default for Lanes {
    fn default() -> Self {
        let lane = |name: &str| LaneConfig { name: name.into(), policy: LanePolicy::Drop, ttl_ms: None };
        Self::new(vec![lane("high"), lane("normal"), lane("low")])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_lane_is_normal_or_the_middle() {
        let lanes = Lanes::default();
        assert_eq!(lanes.default_lane(), lanes.by_name("normal").unwrap());
        assert_eq!(lanes.config(lanes.lowest()).name, "low");
        let lane = |name: &str| LaneConfig { name: name.into(), policy: LanePolicy::Drop, ttl_ms: None };
        assert_eq!(Lanes::new(vec![lane("only")]).default_lane(), Lane(0));
        assert_eq!(Lanes::new(vec![lane("a"), lane("b"), lane("c")]).default_lane(), Lane(1));
    }
}
