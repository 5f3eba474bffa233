//! Connections per client address, where `limits.connections_per_address` is on.

use std::{collections::HashMap, net::IpAddr, sync::Mutex};

/// Counts of one node. Costs nothing while the limit is off: shards do not call it then.
#[derive(Default)]
pub struct Addresses {
    counts: Mutex<HashMap<IpAddr, u32>>,
}

impl Addresses {
    /// Counts one more connection of an address, unless it has `max` already.
    pub fn try_enter(&self, address: IpAddr, max: usize) -> bool {
        let mut counts = self.lock();
        let count = counts.entry(address).or_insert(0);
        if *count as usize >= max {
            return false;
        }
        *count += 1;
        true
    }

    /// Counts one less.
    pub fn leave(&self, address: IpAddr) {
        let mut counts = self.lock();
        if let Some(count) = counts.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&address);
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<IpAddr, u32>> {
        self.counts.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_at_most_its_number_and_is_forgotten_at_none() {
        let addresses = Addresses::default();
        let one = IpAddr::from([127, 0, 0, 1]);
        assert!(addresses.try_enter(one, 2) && addresses.try_enter(one, 2));
        assert!(!addresses.try_enter(one, 2));
        assert!(addresses.try_enter(IpAddr::from([127, 0, 0, 2]), 2));
        addresses.leave(one);
        assert!(addresses.try_enter(one, 2));
        addresses.leave(one);
        addresses.leave(one);
        assert!(!addresses.lock().contains_key(&one));
    }
}
