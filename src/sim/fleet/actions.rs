//! What happens in a run: clients come, move, leave and fall silent; senders send; nodes die, pause and lose their way; Redis
//! forgets, fails over, is away or slow.

use super::{plan::Plan, run::Fleet, senders};

/// The longest that Redis is away or slow, and that a node pauses.
const REDIS_AWAY_MAX_US: u64 = 20_000_000;
const PAUSE_MAX_US: u64 = 30_000_000;

/// One thing happens.
pub fn act(fleet: &mut Fleet) {
    if fleet.redis_since_us + REDIS_AWAY_MAX_US < fleet.now_us {
        (fleet.stores.is_up, fleet.stores.is_slow) = (true, false);
    }
    let Plan { node_faults, link_cuts, redis_away, redis_losses, .. } = fleet.plan;
    let mut strikes = |one_in: u64| one_in > 0 && fleet.choices.once_in(one_in);
    let (node, link) = (strikes(node_faults), strikes(link_cuts));
    let (away, loss) = (strikes(redis_away), strikes(redis_losses));
    if node {
        fail_node(fleet);
    }
    if link {
        fail_link(fleet);
    }
    if away {
        hold_redis_up(fleet);
    }
    if loss {
        lose_writes(fleet);
    }
    senders::disturb(fleet);
    match fleet.choices.below(100) {
        28..65 if fleet.queue.is_some() => senders::send(fleet),
        0..18 => connect(fleet),
        18..20 => rush(fleet),
        20..28 => depart(fleet),
        28..65 => push(fleet),
        65..68 => operate(fleet),
        _ => {}
    }
}

pub fn any_node(fleet: &mut Fleet) -> usize {
    fleet.choices.below(fleet.slots.len() as u64) as usize
}

/// One that clients come to.
fn any_home(fleet: &mut Fleet) -> usize {
    fleet.choices.below(fleet.plan.nodes as u64) as usize
}

pub fn any_device(fleet: &mut Fleet) -> (String, String) {
    let user = fleet.choices.below(fleet.plan.users);
    let device = fleet.choices.below(fleet.plan.devices);
    (format!("u{user}"), format!("d{device}"))
}

/// A device connects, mostly while its last connection is gone or about to be found gone.
fn connect(fleet: &mut Fleet) {
    if fleet.active.len() >= fleet.plan.members {
        return depart(fleet);
    }
    let (user, device) = any_device(fleet);
    let at = any_home(fleet);
    let held = fleet.active.iter().copied().filter(|&number| fleet.members[number].is_of(&user, &device));
    for number in held.collect::<Vec<_>>() {
        match fleet.choices.below(4) {
            0 => {}
            1 => fleet.members[number].vanish(fleet.now_us),
            2 => leave(fleet, number),
            _ => reset(fleet, number),
        }
    }
    fleet.connect(at, (user, device));
}

/// Many come to one node at once.
pub fn rush(fleet: &mut Fleet) {
    let at = any_home(fleet);
    for _ in 0..6 {
        let who = any_device(fleet);
        let held = fleet.active.iter().any(|&number| fleet.members[number].is_of(&who.0, &who.1));
        if !held && fleet.active.len() < fleet.plan.members {
            fleet.connect(at, who);
        }
    }
}

fn depart(fleet: &mut Fleet) {
    let at = fleet.choices.below(fleet.active.len() as u64) as usize;
    let Some(number) = fleet.active.iter().nth(at).copied() else { return };
    match fleet.choices.below(3) {
        0 => fleet.members[number].vanish(fleet.now_us),
        1 => leave(fleet, number),
        _ => reset(fleet, number),
    }
}

pub fn leave(fleet: &mut Fleet, number: usize) {
    let member = &mut fleet.members[number];
    if let Some(node) = &fleet.slots[member.at].node {
        member.leave(node, fleet.now_us);
    }
}

fn reset(fleet: &mut Fleet, number: usize) {
    let member = &mut fleet.members[number];
    if let Some(node) = &fleet.slots[member.at].node {
        member.reset(node, fleet.now_us);
    }
}

fn push(fleet: &mut Fleet) {
    let (user, device) = any_device(fleet);
    for _ in 0..fleet.choices.pick(&[1, 1, 4]) {
        let at = any_node(fleet);
        let device = fleet.choices.once_in(3).then_some(device.as_str());
        if fleet.slots[at].is_awake(fleet.now_us) {
            fleet.push(at, &user, device);
        }
    }
}

/// A user's connections are asked to come back elsewhere.
fn operate(fleet: &mut Fleet) {
    let (user, _) = any_device(fleet);
    let at = any_node(fleet);
    if let Some(node) = &fleet.slots[at].node {
        // Where there is no room the operator is told so, and nothing more happens.
        let _ = node.router.disconnect_here(&user, None);
    }
}

fn fail_node(fleet: &mut Fleet) {
    let at = any_node(fleet);
    match fleet.choices.below(6) {
        0 if fleet.plan.nodes_die => fleet.kill(at),
        1 => {
            let most_us = fleet.choices.pick(&[1_000_000, 12_000_000, PAUSE_MAX_US]);
            fleet.slots[at].paused_until_us = fleet.now_us + fleet.choices.below(most_us);
        }
        2 => fleet.stores.cut_off(at, true),
        3 => (0..fleet.slots.len()).for_each(|at| fleet.stores.cut_off(at, false)),
        _ => revive(fleet, at),
    }
}

pub fn revive(fleet: &mut Fleet, at: usize) {
    if fleet.slots[at].node.is_none() {
        fleet.start(at);
    }
}

fn fail_link(fleet: &mut Fleet) {
    let (one, other) = (any_node(fleet), any_node(fleet));
    match fleet.choices.below(3) {
        0 if one != other => {
            fleet.links.cut.insert((one.min(other), one.max(other)));
        }
        _ => fleet.links.cut.clear(),
    }
}

fn hold_redis_up(fleet: &mut Fleet) {
    fleet.redis_since_us = fleet.now_us;
    match fleet.choices.below(3) {
        0 => fleet.stores.is_up = false,
        1 => fleet.stores.is_slow = true,
        _ => (fleet.stores.is_up, fleet.stores.is_slow) = (true, false),
    }
}

fn lose_writes(fleet: &mut Fleet) {
    match fleet.choices.below(2) {
        0 => {
            let with_leases = fleet.choices.once_in(2);
            fleet.stores.forget(with_leases, fleet.now_us);
        }
        _ => fleet.stores.fail_over(fleet.now_us),
    }
}
