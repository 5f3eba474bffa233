//! Where a run's choices come from: a seed, or the bytes of a fuzzer's input. Either replays exactly.

use crate::kit::random::Random;

/// A sequence of choices.
pub enum Choices {
    /// Endless, by a seed.
    Seeded(Random),
    /// As many as the bytes are good for.
    Script { bytes: Vec<u8>, at: usize },
}

impl Choices {
    pub fn seeded(seed: u64) -> Self {
        Self::Seeded(Random::seeded(seed))
    }

    pub fn script(bytes: &[u8]) -> Self {
        Self::Script { bytes: bytes.to_vec(), at: 0 }
    }

    /// Whether a script has been used up.
    pub fn is_over(&self) -> bool {
        matches!(self, Self::Script { bytes, at } if *at >= bytes.len())
    }

    /// One of `0..n`; 0 where there is no choice, or the script is over.
    pub fn below(&mut self, n: u64) -> u64 {
        match self {
            Self::Seeded(random) => random.below(n),
            Self::Script { .. } if n <= 1 => 0,
            Self::Script { .. } => {
                let count = if n <= 1 << 8 { 1 } else { 2 };
                self.bytes(count).iter().fold(0, |number, &byte| number << 8 | u64::from(byte)) % n
            }
        }
    }

    /// One of `low..=high`.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high - low + 1)
    }

    /// Whether something happens that does once in `n` times.
    pub fn once_in(&mut self, n: u64) -> bool {
        self.below(n) == n - 1
    }

    pub fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len() as u64) as usize]
    }

    /// Any `count` bytes; fewer where the script ends.
    pub fn bytes(&mut self, count: usize) -> Vec<u8> {
        match self {
            Self::Seeded(random) => (0..count).map(|_| random.u64() as u8).collect(),
            Self::Script { bytes, at } => {
                let end = (*at + count).min(bytes.len());
                let taken = bytes[*at..end].to_vec();
                *at = end;
                taken
            }
        }
    }
}
