//! What became of one message for one device.

use crate::kit::completion::Answer;

/// Exactly one per message and device; one [`Outcome::Offline`] without a device when there is none.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
pub enum Outcome {
    /// The kernel took the last byte.
    Written,
    /// The client acknowledged it.
    Acked,
    /// No such user or device is connected.
    Offline,
    /// The connection was gone between lookup and write, also after one fresh lookup.
    Stale,
    /// It did not leave within `delivery.timeout`, or found no room.
    Slow,
    /// The connection's `limits.push_rate` was used up.
    RateLimited,
    /// Its life was over before it could be written.
    Expired,
    /// The body is larger than allowed.
    TooLarge,
    /// The connection has had this id.
    Duplicate,
    /// No room in a mailbox, a fault of ours, or an answer that cannot be believed.
    Failed,
}

impl Outcome {
    /// Every outcome, in the order of their numbers.
    pub const ALL: [Outcome; 10] = [
        Outcome::Written,
        Outcome::Acked,
        Outcome::Offline,
        Outcome::Stale,
        Outcome::Slow,
        Outcome::RateLimited,
        Outcome::Expired,
        Outcome::TooLarge,
        Outcome::Duplicate,
        Outcome::Failed,
    ];

    /// Its name in answers, metrics and logs.
    pub fn label(self) -> &'static str {
        match self {
            Outcome::Written => "written",
            Outcome::Acked => "acked",
            Outcome::Offline => "offline",
            Outcome::Stale => "stale",
            Outcome::Slow => "slow",
            Outcome::RateLimited => "rate_limited",
            Outcome::Expired => "expired",
            Outcome::TooLarge => "too_large",
            Outcome::Duplicate => "duplicate",
            Outcome::Failed => "failed",
        }
    }
}

impl Answer for Outcome {
    const LOST: Self = Outcome::Failed;

    fn to_bits(self) -> u16 {
        u16::from(self as u8)
    }

    fn from_bits(bits: u16) -> Self {
        Self::ALL.get(usize::from(bits)).copied().unwrap_or(Outcome::Failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_labels_are_distinct_and_read_back() {
        for (at, outcome) in Outcome::ALL.into_iter().enumerate() {
            assert_eq!(usize::from(outcome.to_bits()), at);
            assert_eq!(Outcome::from_bits(outcome.to_bits()), outcome);
            assert_eq!(Outcome::ALL.iter().filter(|other| other.label() == outcome.label()).count(), 1);
        }
    }
}
