//! What one run of a fleet is like, drawn anew for each.

use super::{links::LinkFaults, store::StoreFaults};
use crate::{
    config::{Config, Distribution},
    directory::JOURNAL_MAX,
    sim::{choices::Choices, faults::Odds},
};

/// See the module.
pub struct Plan {
    pub config: Config,
    pub nodes: usize,
    pub users: u64,
    /// Devices of each user.
    pub devices: u64,
    /// Connections at a time, about.
    pub members: usize,
    pub letters: usize,
    /// Entries that the directory's journal has room for.
    pub journal: usize,
    pub heal_rate: u64,
    /// One in so many steps something befalls a node, a link, Redis' presence and Redis' memory; 0: never.
    pub node_faults: u64,
    pub link_cuts: u64,
    pub redis_away: u64,
    pub redis_losses: u64,
    /// Whether nodes die. Where none does, hardly any displaced connection may be forgotten.
    pub nodes_die: bool,
    pub store: StoreFaults,
    pub links: LinkFaults,
}

impl Plan {
    pub fn draw(choices: &mut Choices) -> Self {
        let mut config = Config::default();
        config.node.shards = choices.between(1, 2) as usize;
        config.clients.ping_ms = 10_000;
        config.lifetime.distribution = Distribution::Uniform;
        (config.lifetime.mean_ms, config.lifetime.max_ms) = (86_400_000, 86_400_000);
        config.limits.memory_percent = 0;
        let nodes = choices.between(2, 4) as usize;
        let users = choices.pick(&[3, 8, 16]);
        let mut odds = |some: &[u16]| Odds(choices.pick(some));
        let store = StoreFaults {
            late: odds(&[0, 30, 100]),
            lost: odds(&[0, 20, 100]),
            doubled: odds(&[0, 20]),
            misattributed: odds(&[0, 50]),
            full: odds(&[0, 300]),
        };
        let links = LinkFaults { broken: odds(&[0, 10, 40]), misnamed: odds(&[0, 20]), slow: odds(&[0, 20]) };
        Self {
            config,
            nodes,
            users,
            devices: choices.between(1, 3),
            members: choices.pick(&[10, 30]),
            letters: choices.pick(&[1_000, 16]),
            journal: choices.pick(&[JOURNAL_MAX, 2]),
            heal_rate: choices.pick(&[20_000, 50]),
            node_faults: choices.pick(&[15, 40, 200, 0]),
            link_cuts: choices.pick(&[30, 200, 0]),
            redis_away: choices.pick(&[100, 300, 0]),
            redis_losses: choices.pick(&[60, 200, 0]),
            nodes_die: choices.once_in(2),
            store,
            links,
        }
    }
}
