//! What a client does that was refused, or got no answer, or may come back: when it tries again, and where.

use super::{Worker, connection::Phase, tally::Failure, timers::What};
use crate::plan::Returns;

/// The longest wait after the first time in a row that a connection did not come to be, us; twice as long after each further.
const BACK_OFF_US: u64 = 1_000_000;
/// And never longer than this, us.
const BACK_OFF_MAX_US: u64 = 30_000_000;
/// What a server answers that may answer otherwise later, besides what it calls its own fault (RFC 9110 15.5, RFC 6585).
const PASSING: [u16; 3] = [408, 425, 429];

impl Worker {
    pub(super) fn on_refused(&mut self, key: usize, status: u16, retry_ms: Option<u32>) {
        *self.tally.refused.entry(status).or_default() += 1;
        self.connections[key].hint_ms = retry_ms.unwrap_or(0);
        self.give_up(key, retry_ms.is_some() || status >= 500 || PASSING.contains(&status));
    }

    /// The connection did not come to be.
    pub(super) fn fail(&mut self, key: usize, failure: Failure) {
        *self.tally.failed.entry(failure).or_default() += 1;
        self.connections[key].hint_ms = 0;
        self.give_up(key, failure.may_pass());
    }

    fn give_up(&mut self, key: usize, may_pass: bool) {
        self.tally.in_flight -= 1;
        let connection = &mut self.connections[key];
        if !(may_pass && self.settings.retry_refused && connection.returns() && !self.leaving) {
            return self.let_go(key);
        }
        connection.tries = connection.tries.saturating_add(1);
        let longest = back_off_us(connection.tries);
        let wait_us = self.hint_us(key).unwrap_or_else(|| self.random.u64(..=longest));
        self.go_away(key, wait_us);
    }

    /// How long who was let go stays away, us.
    pub(super) fn wait_to_return(&mut self, key: usize) -> u64 {
        let within = self.settings.back_within;
        self.hint_us(key).unwrap_or_else(|| self.within(0, within))
    }

    fn hint_us(&self, key: usize) -> Option<u64> {
        let hint_ms = self.connections[key].hint_ms;
        (self.settings.hints && hint_ms > 0).then(|| u64::from(hint_ms) * 1_000)
    }

    /// Until it comes back it has nothing but its place.
    pub(super) fn go_away(&mut self, key: usize, wait_us: u64) {
        self.connections[key].end_visit();
        self.give_back(key);
        self.enter(key, Phase::Away);
        self.tally.away += 1;
        let at_us = self.run.now_us() + wait_us;
        self.connections[key].meant_us = at_us;
        self.after(key, at_us, What::Back);
    }

    pub(super) fn come_back(&mut self, now: u64, key: usize) {
        self.tally.away -= 1;
        let connection = &mut self.connections[key];
        self.tally.retried += u64::from(connection.tries > 0);
        let targets = self.settings.targets.len() as u32;
        if self.settings.returns == Returns::Any && targets > 1 {
            connection.target = another(u32::from(connection.target), targets, &mut self.random) as u16;
        }
        self.connect(now, key);
    }
}

/// The longest wait after as many tries in a row, us.
fn back_off_us(tries: u8) -> u64 {
    BACK_OFF_US
        .checked_shl(u32::from(tries.saturating_sub(1)).min(32))
        .map_or(BACK_OFF_MAX_US, |wait| wait.min(BACK_OFF_MAX_US))
}

/// Any number below `count` but this one, each as likely as the other.
fn another(current: u32, count: u32, random: &mut fastrand::Rng) -> u32 {
    (current + random.u32(1..count)) % count
}

impl Failure {
    /// Whether trying again can help, without anybody doing anything about it here.
    fn may_pass(self) -> bool {
        match self {
            Failure::NobodyThere | Failure::CutOff | Failure::Silence | Failure::Unreachable => true,
            Failure::NoPort | Failure::NoDescriptor => true,
            Failure::NoSource | Failure::Stranger | Failure::WantsTls => false,
            Failure::NotTls | Failure::Certificate | Failure::NoAgreement => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_half_a_minute() {
        let seconds: Vec<u64> = (1..=7).map(|tries| back_off_us(tries) / 1_000_000).collect();
        assert_eq!(seconds, [1, 2, 4, 8, 16, 30, 30]);
        assert!((1..=u8::MAX).all(|tries| (BACK_OFF_US..=BACK_OFF_MAX_US).contains(&back_off_us(tries))));
    }

    #[test]
    fn another_target_is_any_but_the_last() {
        let mut random = fastrand::Rng::with_seed(1);
        let mut seen = [0; 4];
        (0..3_000).for_each(|_| seen[another(2, 4, &mut random) as usize] += 1);
        assert_eq!(seen[2], 0);
        assert!([0, 1, 3].iter().all(|&at| (900..1_100).contains(&seen[at])), "{seen:?}");
    }
}
