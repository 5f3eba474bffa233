//! What may go wrong in the simulated kernel, and how often.

use crate::kit::random::Random;

/// How often something happens: once in so many chances; 0: never.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Odds(pub u16);

impl Odds {
    /// It never happens.
    pub const NEVER: Odds = Odds(0);

    /// Whether it happens this time.
    pub fn strikes(self, random: &mut Random) -> bool {
        self.0 > 0 && random.below(u64::from(self.0)) == 0
    }
}

/// The faults of one run.
#[derive(Clone, Copy, Debug)]
pub struct Faults {
    /// A read or write takes a part.
    pub short: Odds,
    /// A read or write takes nothing, though bytes or room come right after.
    pub nothing: Odds,
    /// A call is interrupted by a signal.
    pub interrupted: Odds,
    /// A poll brings events without a cause, for sockets that are gone, and all out of order.
    pub odd_events: Odds,
    /// A poll does not yet bring the news that there is mail.
    pub late_mail: Odds,
    /// The connection that is accepted has failed already.
    pub aborted_accept: Odds,
    /// The host has no room to watch another socket.
    pub full_epoll: Odds,
}

impl Faults {
    /// Nothing goes wrong.
    pub const NONE: Faults = Faults {
        short: Odds::NEVER,
        nothing: Odds::NEVER,
        interrupted: Odds::NEVER,
        odd_events: Odds::NEVER,
        late_mail: Odds::NEVER,
        aborted_accept: Odds::NEVER,
        full_epoll: Odds::NEVER,
    };
}
