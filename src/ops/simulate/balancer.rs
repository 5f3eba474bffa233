//! How a layer-4 balancer spreads handshakes over the nodes that it lists.

use crate::kit::random::Random;

/// The law of a balancer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Balancing {
    /// One after the other.
    RoundRobin,
    /// Any, each as likely; what hashing of addresses comes to.
    Random,
    /// The one with the fewest connections.
    Least,
}

/// Fewer than so many for each node are drawn one by one.
const FEW: u64 = 8;

/// A balancer.
#[derive(Debug)]
pub struct Balancer {
    law: Balancing,
    /// Whose turn it is.
    next: u64,
}

impl Balancer {
    /// One of this law.
    pub fn new(law: Balancing) -> Self {
        Self { law, next: 0 }
    }

    /// Divides `count` among nodes with so many connections each, of which there is one at least.
    pub fn divide(&mut self, count: u64, open: &[u64], random: &mut Random) -> Vec<u64> {
        match self.law {
            Balancing::RoundRobin => self.in_turn(count, open.len()),
            Balancing::Random => by_chance(count, open.len(), random),
            Balancing::Least => self.by_least(count, open),
        }
    }

    fn in_turn(&mut self, count: u64, nodes: usize) -> Vec<u64> {
        let among = nodes as u64;
        let (each, rest) = (count / among, count % among);
        let first = self.next % among;
        self.next = (first + rest) % among;
        (0..among).map(|node| each + u64::from((node + among - first) % among < rest)).collect()
    }

    /// Fills up from the emptiest, as water does.
    fn by_least(&mut self, count: u64, open: &[u64]) -> Vec<u64> {
        let mut sorted = open.to_vec();
        sorted.sort_unstable();
        let (mut sum, mut filled) = (0, 0);
        for (at, held) in sorted.iter().enumerate() {
            // So many does it take to lift all before it to this one's level.
            if held * at as u64 - sum > count {
                break;
            }
            (sum, filled) = (sum + held, at as u64 + 1);
        }
        let (level, mut rest) = ((sum + count) / filled, (sum + count) % filled);
        let mut shares: Vec<u64> = open.iter().map(|held| level.saturating_sub(*held)).collect();
        let first = self.next as usize % open.len();
        for at in (first..open.len()).chain(0..first) {
            if rest > 0 && open[at] <= level {
                shares[at] += 1;
                rest -= 1;
            }
        }
        self.next = self.next.wrapping_add(count);
        shares
    }
}

fn by_chance(count: u64, nodes: usize, random: &mut Random) -> Vec<u64> {
    let mut shares = vec![0; nodes];
    if count < FEW * nodes as u64 {
        for _ in 0..count {
            shares[random.below(nodes as u64) as usize] += 1;
        }
        return shares;
    }
    let mut left = count;
    for (at, share) in shares.iter_mut().enumerate() {
        *share = binomial(left, 1.0 / (nodes - at) as f64, random);
        left -= *share;
    }
    shares
}

/// How many of `count`, a large number, fall to a chance: the normal approximation.
fn binomial(count: u64, chance: f64, random: &mut Random) -> u64 {
    if chance >= 1.0 {
        return count;
    }
    let (mean, variance) = (count as f64 * chance, count as f64 * chance * (1.0 - chance));
    let angle = std::f64::consts::TAU * random.unit();
    let normal = (2.0 * random.exponential(1.0)).sqrt() * angle.cos();
    (mean + variance.sqrt() * normal).round().clamp(0.0, count as f64) as u64
}
