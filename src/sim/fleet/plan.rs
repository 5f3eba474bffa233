//! What one run of a fleet is like, drawn anew for each.

use super::{links::LinkFaults, store::StoreFaults};
use crate::{
    config::{Config, Distribution},
    directory::JOURNAL_MAX,
    model::{Lanes, lane::LaneConfig},
    sim::{choices::Choices, faults::Odds, kafka},
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
    /// None: senders push by the nodes' ports, and there is no Kafka.
    pub queue: Option<QueuePlan>,
}

/// What its queue is like.
#[derive(Clone, Copy, Debug)]
pub struct QueuePlan {
    pub kafka: kafka::Plan,
    /// Nodes without clients.
    pub processors: usize,
    /// The life that the lowest lane gives, ms.
    pub low_ttl_ms: Option<u64>,
    pub has_dead_letters: bool,
    /// One in so many steps the brokers or a node's way to them, the topics of reports, or the group are not as they should be;
    /// 0: never.
    pub away: u64,
    pub refusals: u64,
    pub rebalances: u64,
}

impl QueuePlan {
    fn draw(choices: &mut Choices) -> Self {
        let in_flight_max = choices.pick(&[3, 16, 64]);
        let mut odds = |some: &[u16]| Odds(choices.pick(some));
        let [commit_lost, gap] = [odds(&[0, 3]), odds(&[0, 5])];
        let [late, refused, unknown] = [odds(&[0, 10, 2]), odds(&[0, 0, 30]), odds(&[0, 0, 60])];
        let kafka = kafka::Plan {
            partitions: choices.between(1, 3) as usize,
            in_flight_max,
            uncommitted_max: choices.pick(&[in_flight_max, 4 * in_flight_max]),
            batch_max: choices.pick(&[2, 20]),
            revoke_us: choices.pick(&[1_000_000, 5_000_000]),
            commit_us: 1_000_000,
            session_us: choices.pick(&[4_000_000, 10_000_000]),
            produce_max: choices.pick(&[1_000, 1_000, 2]),
            commit_lost,
            gap,
            late,
            refused,
            unknown,
        };
        Self {
            kafka,
            processors: choices.between(1, 2) as usize,
            has_dead_letters: !choices.once_in(4),
            low_ttl_ms: choices.once_in(2).then_some(20_000),
            away: choices.pick(&[60, 200, 0]),
            refusals: choices.pick(&[100, 0]),
            rebalances: choices.pick(&[10, 60, 0]),
        }
    }
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
            queue: None,
        }
    }

    /// The same with a queue, from which all messages come.
    pub fn draw_with_queue(choices: &mut Choices) -> Self {
        let mut plan = Self::draw(choices);
        let queue = QueuePlan::draw(choices);
        let mut lanes: Vec<LaneConfig> = plan.config.lanes.iter().map(|(_, lane)| lane.clone()).collect();
        lanes.iter_mut().for_each(|lane| lane.ttl_ms = None);
        lanes.last_mut().into_iter().for_each(|lane| lane.ttl_ms = queue.low_ttl_ms);
        plan.config.lanes = Lanes::new(lanes);
        Self { queue: Some(queue), ..plan }
    }

    /// Nodes at all.
    pub fn slots(&self) -> usize {
        self.nodes + self.queue.map_or(0, |queue| queue.processors)
    }
}
