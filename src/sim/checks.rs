//! What must be so at rest, and what must not take longer than it may. What must be so after every turn is the rig's affair.

use super::{peer::Peer, rig::Client, run::Simulation};
use crate::{bridge::drain::DrainPhase, conn::Phase};
use std::{collections::BTreeMap, sync::atomic::Ordering};

/// How long last bytes, or the peer's answer to a close, are waited for, µs.
const CLOSING_US: u64 = 3_000_000;
/// A timer may be a tick late, a ping jittered, a sender told a tick later, …
const SLACK_US: u64 = 1_000_000;

impl Simulation {
    /// What must be so when no shard has anything left to do.
    pub(super) fn check_rest(&self) {
        let world = self.rig.world.borrow();
        for (index, shard) in self.rig.shards.iter().enumerate() {
            let accepts = shard.accepts() && !world.is_left(index);
            assert!(!accepts || world.backlog(index) == 0, "nobody waits to be accepted");
            for (socket, phase) in shard.phases() {
                let end = &world.sockets[socket.0 as usize];
                assert!(end.up.is_empty(), "what {socket:?} has sent is read ({phase:?})");
                assert!(end.failed.is_none() && !end.ended, "{socket:?} is known to be gone ({phase:?})");
            }
        }
        let limits = &self.plan.config.limits;
        let used = self.rig.shared.buffers.load(Ordering::Relaxed);
        assert!(used <= limits.buffer_bytes, "{used} bytes of buffers");
        let open = self.rig.shared.open.load(Ordering::Relaxed);
        assert!(open <= limits.connections, "{open} connections");
        if limits.connections_per_user > 0 {
            for user in 0..self.plan.users {
                let mut count = 0;
                self.rig.directory.lookup(&format!("u{user}"), |_| count += 1);
                assert!(count <= limits.connections_per_user, "{count} connections of u{user}");
            }
        }
    }

    /// What must not take longer than it may.
    pub(super) fn check_times(&mut self) {
        let now_us = self.now_us();
        let slack_us = SLACK_US + 4 * self.plan.stall_max_ms * 1_000;
        let timeout_us = self.plan.config.delivery.timeout_ms * 1_000;
        let mut phases: BTreeMap<usize, Phase> = BTreeMap::new();
        let waiting_max = self.plan.config.limits.unauthenticated.div_ceil(self.rig.shards.len());
        for shard in &self.rig.shards {
            let waiting = shard.phases().filter(|(_, phase)| phase.waits()).count();
            assert!(waiting <= waiting_max, "{waiting} handshakes wait");
            phases.extend(shard.phases().map(|(socket, phase)| (socket.0 as usize, phase)));
        }
        let takes = |number: usize| matches!(phases.get(&number), Some(Phase::Open | Phase::Leaving));
        let rig = &self.rig;
        // Nobody has the number of a connection that was gone before.
        let sent_to = |client: Client| rig.world.borrow().sockets.get(client.0).map_or(0, |end| end.sent);
        self.ledger.check_answered(now_us, timeout_us + slack_us, sent_to, takes);
        for (&number, &phase) in &phases {
            self.check_peer(number, phase, now_us, slack_us);
        }
        let scarce = self.rig.world.borrow().descriptors < 1_000;
        self.scarce_us = if scarce { now_us } else { self.scarce_us };
        let accepts = || self.rig.shards.iter().all(|shard| shard.accepts());
        assert!(now_us <= self.scarce_us + slack_us || accepts(), "it accepts when there are descriptors");
        self.check_drain(&phases, now_us, slack_us);
    }

    fn check_drain(&self, phases: &BTreeMap<usize, Phase>, now_us: u64, slack_us: u64) {
        let drain = self.rig.drain.status();
        let late = drain.elapsed_ms > drain.deadline_ms + slack_us / 1_000;
        assert!(
            !late || matches!(drain.phase, DrainPhase::Done | DrainPhase::Serving),
            "a drain ends on time"
        );
        if let Some((began_us, window_ms)) = self.leaving {
            let asked_us = began_us + window_ms * 1_000 + slack_us;
            let asked = || phases.values().all(|phase| *phase != Phase::Open);
            assert!(now_us < asked_us || asked(), "a drain asks everyone in its window");
            let grace_us = self.rig.grace_us() + self.plan.wait_max_ms() * 1_000;
            let over_us = asked_us + grace_us + CLOSING_US;
            // Who comes later is refused, and may be slow to hear it.
            let held = || phases.iter().any(|(number, _)| self.accepted_us(*number) < began_us);
            assert!(now_us < over_us || !held(), "a drain leaves nobody behind");
        }
    }

    fn check_peer(&self, number: usize, phase: Phase, now_us: u64, slack_us: u64) {
        let peer = &self.peers[number];
        let age_us = now_us - self.accepted_us(number);
        assert!(
            age_us <= self.plan.life_max_ms() * 1_000 + slack_us,
            "it outlives its life, {age_us} us old: {peer:?}"
        );
        match phase {
            Phase::Opening | Phase::Asking => {
                let most_us = self.plan.config.limits.handshake_timeout_ms * 1_000 + slack_us;
                assert!(age_us <= most_us, "a handshake takes for ever: {peer:?}");
            }
            Phase::Nameless | Phase::NamelessAsking => {
                let most_us = self.plan.wait_max_ms() * 1_000 + slack_us;
                assert!(age_us <= most_us, "it does not say who it is: {peer:?}");
            }
            Phase::Open | Phase::Leaving => {
                if let Some(expires_us) = peer.expires_us {
                    assert!(now_us <= expires_us + slack_us, "it outlives its token: {peer:?}");
                }
                // It may have waited to be accepted.
                let begins_us = self.accepted_us(number) + self.waits_us(peer);
                let quiet_us = now_us.saturating_sub(peer.told_us.max(begins_us));
                let prompt = peer.manner.is_prompt() && !peer.vanished && phase == Phase::Open;
                assert!(
                    !prompt || quiet_us <= peer.ping_us + slack_us,
                    "not pinged for {quiet_us} us: {peer:?}"
                );
                let silent_us = now_us.saturating_sub(peer.said_us.max(begins_us));
                let dead = !peer.stream && silent_us > 2 * peer.ping_us + slack_us;
                assert!(!dead, "dead, and held after {silent_us} us: {peer:?}");
            }
            Phase::Closing => {}
        }
    }

    /// How long a client may have waited for its identity, in which nobody pings it.
    fn waits_us(&self, peer: &Peer) -> u64 {
        if peer.waits { self.plan.wait_max_ms() * 1_000 } else { 0 }
    }

    fn accepted_us(&self, number: usize) -> u64 {
        self.rig.world.borrow().sockets[number].accepted_us.unwrap_or_default()
    }
}
