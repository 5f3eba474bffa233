//! Redis with the store's scripts, without its bytes.

use crate::{
    bridge::{
        registry::Lease,
        store::{Connected, Device, Devices, LiveLease, Place, Record, Renewed, Reply, Request, user_hash},
    },
    model::Handle,
};
use std::collections::BTreeMap;

/// Users, their devices, and of each the record and whom it has displaced.
pub type Users = BTreeMap<String, BTreeMap<String, (Record, Option<Record>)>>;

/// See the module.
#[derive(Clone, Default)]
pub struct Redis {
    pub users: Users,
    /// Until when and since when.
    leases: BTreeMap<String, (Lease, u64, u64)>,
    /// Another one each time it has forgotten everything.
    pub mark: u64,
}

impl Redis {
    /// FLUSHALL, perhaps on another master than that of the leases.
    pub fn forget(&mut self, with_leases: bool) {
        self.users.clear();
        if with_leases {
            self.leases.clear();
        }
        self.mark += 1;
    }

    /// Whether a run of a node has a lease.
    pub fn has_lease(&self, node: &str, incarnation: u64, now_ms: u64) -> bool {
        let held = self.leases.get(node);
        held.is_some_and(|(lease, until_ms, _)| lease.incarnation == incarnation && *until_ms > now_ms)
    }

    /// `sent_ms`: when the request was submitted, which the script knows by the request's age.
    pub fn run(&mut self, request: &Request, sent_ms: u64, now_ms: u64) -> Reply {
        match request {
            Request::Connect { user, device, place, protocol, age_ms, life_ms, .. } => {
                let record = Record {
                    place: *place,
                    protocol: Some(*protocol),
                    connected_ms: sent_ms - age_ms,
                    expires_ms: now_ms + life_ms,
                    user: user_hash(user),
                };
                let devices = self.users.entry(user.to_string()).or_default();
                let held = devices.get(&**device).copied().filter(|(held, _)| held.expires_ms > now_ms);
                let rank = |record: &Record| {
                    let Place { node, incarnation, connection } = record.place;
                    let Handle { shard, key } = connection;
                    (record.connected_ms, incarnation, shard, key.index, key.generation, node)
                };
                let of = |displaced: [Option<Record>; 2]| Connected::Stands {
                    displaced: displaced
                        .into_iter()
                        .flatten()
                        .filter(|one| one.expires_ms > now_ms)
                        .collect(),
                };
                let (next, connected) = match held {
                    Some((held, displaced)) if held.place == *place => (displaced, of([None, displaced])),
                    Some((held, _)) if rank(&held) > rank(&record) => {
                        return Reply::Connected(Connected::Beaten { by: held });
                    }
                    Some((held, displaced)) => (Some(held), of([Some(held), displaced])),
                    None => (None, of([None, None])),
                };
                devices.insert(device.to_string(), (record, next));
                Reply::Connected(connected)
            }
            Request::Disconnect { user, device, place } => {
                let devices = self.users.entry(user.to_string()).or_default();
                let gone = devices.get(&**device).is_some_and(|(held, _)| held.place == *place);
                let removed = if gone { devices.remove(&**device) } else { None };
                Reply::Disconnected { gone, displaced: removed.and_then(|(_, displaced)| displaced) }
            }
            Request::Lookup { user } => {
                let devices = self.users.get(&**user).into_iter().flatten();
                let devices = devices.filter(|(_, (record, _))| record.expires_ms > now_ms).map(
                    |(device, &(record, _))| Device {
                        device: device.as_str().into(),
                        record,
                        left_ms: record.expires_ms - now_ms,
                    },
                );
                Reply::Devices(Devices { devices: devices.collect(), ..Devices::default() })
            }
            Request::RenewLease { lease, ttl_ms, .. } => {
                let held =
                    self.leases.get(&lease.node).filter(|(_, until_ms, _)| *until_ms > now_ms).cloned();
                let (found, since_ms) = match held {
                    Some((held, ..)) if held.incarnation > lease.incarnation => {
                        return Reply::Renewed(Renewed::Superseded { incarnation: held.incarnation });
                    }
                    Some((held, ..)) if held.incarnation < lease.incarnation => {
                        (Renewed::TookOver { incarnation: held.incarnation, since_ms: now_ms }, now_ms)
                    }
                    Some((_, _, since_ms)) => (Renewed::Kept { since_ms }, since_ms),
                    None => (Renewed::Absent { since_ms: now_ms }, now_ms),
                };
                self.leases.insert(lease.node.clone(), (lease.clone(), now_ms + ttl_ms, since_ms));
                Reply::Renewed(found)
            }
            Request::RemoveLease { node, .. } => Reply::LeaseRemoved(self.leases.remove(&**node).is_some()),
            Request::Leases => {
                let live = self.leases.values().filter(|(_, until_ms, _)| *until_ms > now_ms);
                let live = live.map(|(lease, until_ms, _)| LiveLease {
                    lease: lease.clone(),
                    format: 1,
                    left_ms: until_ms - now_ms,
                });
                Reply::Leases(live.collect())
            }
        }
    }
}
