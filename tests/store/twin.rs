//! Random connects, disconnects and lookups, compared with a registry that is a list.

use crate::client::{Client, place};
use holdfast::{
    bridge::store::{Connected, Place},
    directory::TAKEOVERS_MAX,
};
use std::collections::BTreeMap;

/// A connection of the comparison. Those of one rank begin at one moment: before 1970, which is cut to its beginning.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Connection {
    place: Place,
    age_ms: u64,
}

impl Connection {
    /// What decides, in this order.
    fn rank(&self) -> (u64, u64, u16, u32, u32, u64) {
        let Place { node, incarnation, connection } = self.place;
        let began = u64::MAX - self.age_ms;
        (began, incarnation, connection.shard, connection.key.index, connection.key.generation, node)
    }
}

#[derive(Default)]
struct Twin {
    /// Who holds a device, and whom it was taken from, how often within the minute that all of this takes less than.
    held: BTreeMap<(String, String), (Connection, Option<Place>, u8)>,
}

impl Twin {
    fn connect(&mut self, user: &str, device: &str, new: Connection) -> Result<Vec<Place>, Place> {
        let key = (user.to_owned(), device.to_owned());
        match self.held.get(&key) {
            Some((held, displaced, _)) if held.place == new.place => Ok(displaced.iter().copied().collect()),
            Some((held, ..)) if held.rank() > new.rank() => Err(held.place),
            Some((held, _, TAKEOVERS_MAX)) if new.age_ms < 60_000 => Err(held.place),
            held => {
                let (held, before, fights) = held
                    .map_or((None, None, 0), |(held, before, fights)| (Some(held.place), *before, *fights));
                let fights = fights + u8::from(held.is_some() && new.age_ms < 60_000);
                self.held.insert(key, (new, held, fights));
                Ok(held.into_iter().chain(before).collect())
            }
        }
    }

    fn disconnect(&mut self, user: &str, device: &str, place: Place) -> bool {
        let key = (user.to_owned(), device.to_owned());
        let is_held = self.held.get(&key).is_some_and(|(held, ..)| held.place == place);
        is_held && self.held.remove(&key).is_some()
    }

    fn places(&self, user: &str) -> Vec<(String, Place)> {
        let of_user = self.held.iter().filter(|((name, _), _)| name == user);
        of_user.map(|((_, device), (held, ..))| (device.clone(), held.place)).collect()
    }
}

pub fn compare(client: &Client) {
    let seed = std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), "");
    println!("the twin's seed is {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    // Ages at least 20 s apart, so that a slow machine does not change the order, and the age of all who tie.
    let mut connections: Vec<Connection> = (0..12u32)
        .map(|n| Connection {
            place: place(["a", "b"][random.usize(..2)], u64::MAX - random.u64(..2), n / 2),
            age_ms: if random.bool() { 1 << 42 } else { u64::from(n) * 20_000 },
        })
        .collect();
    let all = connections.clone();
    connections.retain(|one| all.iter().find(|other| other.place == one.place) == Some(one));
    let mut twin = Twin::default();
    let user_names = ["twin-1", "twin-2"];
    for step in 0..600 {
        let user = user_names[random.usize(..2)];
        let device = ["tv", "phone"][random.usize(..2)];
        let connection = connections[random.usize(..connections.len())];
        match random.u8(..4) {
            0 => {
                let gone = client.disconnect(user, device, connection.place);
                assert_eq!(gone, twin.disconnect(user, device, connection.place), "seed {seed}, step {step}");
            }
            1 => assert_eq!(client.places(user), twin.places(user), "seed {seed}, step {step}"),
            _ => {
                let found = match client.connect(user, device, connection.place, connection.age_ms, 600_000) {
                    Connected::Stands { displaced } => {
                        Ok(displaced.iter().map(|record| record.place).collect())
                    }
                    Connected::Beaten { by } | Connected::Fought { by } => Err(by.place),
                };
                assert_eq!(found, twin.connect(user, device, connection), "seed {seed}, step {step}");
            }
        }
    }
    for (user, device) in twin.held.keys().cloned().collect::<Vec<_>>() {
        let place = twin.held[&(user.clone(), device.clone())].0.place;
        assert!(client.disconnect(&user, &device, place));
    }
}
