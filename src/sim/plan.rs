//! What one run is like: configuration, faults and habits, drawn anew for each, so that runs differ in kind and not only in
//! detail (swarm testing: Groce et al., ISSTA 2012).

use super::{
    choices::Choices,
    faults::{Faults, Odds},
};
use crate::{
    config::{Config, Distribution, ProxyProtocol, PushRate},
    kit::random::Random,
    model::{LanePolicy, Lanes, lane::LaneConfig},
};

/// See the module.
pub struct Plan {
    pub config: Config,
    pub faults: Faults,
    /// Room in each lane of each mailbox.
    pub letters: usize,
    /// Users that there are.
    pub users: u64,
    /// Client addresses that there are.
    pub addresses: u64,
    /// Connections at a time, about.
    pub peers: usize,
    /// No shard is kept from running for longer, ms.
    pub stall_max_ms: u64,
    /// One in so many clients lies; 0: none.
    pub liars: u64,
    /// One in so many clients reads slowly or not at all.
    pub slow: u64,
    pub logins: Logins,
}

/// How clients say who they are.
#[derive(Clone, Copy)]
pub struct Logins {
    /// Of one in so many somebody else is asked; 0: of none.
    pub later: u64,
    /// One in so many WebSockets says it in its first frame; 0: none.
    pub by_frame: u64,
}

impl Plan {
    /// What is drawn from the seed alone leaves scripts their meaning.
    pub fn draw(choices: &mut Choices, seed: u64) -> Self {
        let mut config = draw_config(choices);
        let logins = draw_logins(&mut config, &mut Random::seeded(seed ^ 0x1061));
        Self {
            config,
            faults: draw_faults(choices),
            letters: choices.pick(&[1_000, 64, 8, 4]),
            users: choices.pick(&[6, 30, 100]),
            addresses: choices.between(1, 8),
            peers: choices.pick(&[40, 10, 80]),
            stall_max_ms: choices.pick(&[0, 200, 3_000]),
            liars: choices.pick(&[0, 4, 10]),
            slow: choices.pick(&[3, 10, 2]),
            logins,
        }
    }

    /// The longest that a connection may wait for its identity, ms, if no shard is ever late.
    pub fn wait_max_ms(&self) -> u64 {
        let handshake_ms = self.config.limits.handshake_timeout_ms;
        let auth = &self.config.auth;
        if auth.first_frame { 2 * handshake_ms + auth.first_frame_timeout_ms } else { handshake_ms }
    }

    /// The longest that a connection may last once it is accepted, ms, if no shard is ever late.
    pub fn life_max_ms(&self) -> u64 {
        self.wait_max_ms() + self.config.lifetime.max_ms + self.config.lifetime.grace_ms + 3_000
    }
}

fn draw_config(choices: &mut Choices) -> Config {
    let mut config = Config::default();
    config.node.shards = choices.between(1, 3) as usize;
    config.lanes = draw_lanes(choices);
    config.clients.echo = true;
    config.clients.ping_ms = choices.between(5, 20) * 1_000;
    (config.clients.ping_min_ms, config.clients.ping_max_ms) = (5_000, 40_000);
    config.clients.deflate = !choices.once_in(4);
    config.clients.deflate_min_bytes = choices.pick(&[0, 64, 256]);
    config.clients.proxy_protocol =
        choices.pick(&[ProxyProtocol::Off, ProxyProtocol::Accept, ProxyProtocol::Require]);
    config.lifetime.distribution =
        choices.pick(&[Distribution::Exponential, Distribution::Uniform, Distribution::Zuul]);
    config.lifetime.mean_ms = choices.pick(&[20_000, 5_000, 60_000]);
    config.lifetime.max_ms = config.lifetime.mean_ms * choices.between(1, 3);
    config.lifetime.grace_ms = choices.pick(&[4_000, 500, 0]);
    config.delivery.timeout_ms = choices.pick(&[5_000, 1_000, 200]);
    config.dedup.window_ms = choices.pick(&[60_000, 2_000, 0]);
    config.dedup.max = choices.pick(&[1_000, 4]);
    config.drain.delay_ms = choices.pick(&[0, 1_000]);
    config.drain.window_ms = choices.pick(&[10_000, 500, 0]);
    config.drain.rate = choices.pick(&[1_000, 10]);
    draw_limits(&mut config, choices);
    config
}

fn draw_logins(config: &mut Config, random: &mut Random) -> Logins {
    let mut pick = |of: [u64; 3]| of[random.below(3) as usize];
    let first_frame_ms = pick([0, 8_000, 1_000]);
    (config.auth.first_frame, config.auth.first_frame_timeout_ms) = (first_frame_ms > 0, first_frame_ms);
    let by_frame = if first_frame_ms > 0 { pick([2, 4, 8]) } else { 0 };
    Logins { later: pick([0, 3, 8]), by_frame }
}

fn draw_limits(config: &mut Config, choices: &mut Choices) {
    let limits = &mut config.limits;
    limits.memory_percent = 0;
    limits.connections = choices.pick(&[1_000, 30, 5]);
    limits.connections_per_user = choices.pick(&[0, 3, 1]);
    limits.connections_per_address = choices.pick(&[0, 0, 10]);
    limits.handshakes_per_second = choices.pick(&[0, 0, 5]);
    limits.handshake_timeout_ms = choices.pick(&[8_000, 1_000]);
    limits.unauthenticated = choices.pick(&[1_000, 1_000, 6]);
    limits.head_bytes = choices.pick(&[8_192, 600]);
    limits.message_bytes = choices.pick(&[65_536, 1_000, 125]);
    limits.inbound_rate = choices.pick(&[0, 100, 10]);
    limits.outbox_bytes = choices.pick(&[65_536, 4_000, 500]);
    limits.buffer_bytes = choices.pick(&[1 << 30, 1 << 30, 20_000]);
    limits.push_rate = choices.pick(&[None, None, Some(PushRate { count: 3, window_ms: 2_000 })]);
}

fn draw_lanes(choices: &mut Choices) -> Lanes {
    let policies = [LanePolicy::Drop, LanePolicy::Replace, LanePolicy::Close];
    let names = ["high", "normal", "low"];
    let lanes =
        names.map(|name| LaneConfig { name: name.into(), policy: choices.pick(&policies), ttl_ms: None });
    Lanes::new(lanes.into())
}

fn draw_faults(choices: &mut Choices) -> Faults {
    let mut odds = |some: &[u16]| Odds(choices.pick(some));
    Faults {
        short: odds(&[0, 0, 20, 3]),
        nothing: odds(&[0, 0, 20, 3]),
        interrupted: odds(&[0, 0, 50]),
        odd_events: odds(&[0, 0, 10]),
        late_mail: odds(&[0, 0, 3]),
        aborted_accept: odds(&[0, 0, 20]),
        full_epoll: odds(&[0, 0, 0, 200]),
    }
}
