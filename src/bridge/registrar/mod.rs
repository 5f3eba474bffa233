//! What this node tells the registry of its connections, and what it believes of those of others: decisions only.
//!
//! Owns registration, retries, leases, the freeze, healing, the route cache, and the news for displaced connections. Does no
//! I/O and reads no clock: [`Input`]s and the time in, [`Action`]s out, so that a simulation can run many of it on a
//! registry that lies, loses and delays.
//!
//! The node's own connections are not asked of the registry: its directory knows them. What the registry says of this node's
//! own, and the directory does not know, is removed there.

mod changes;
mod fleet;
mod routes;

pub use changes::Arrived;
pub use fleet::Life;
pub use routes::Route;

use super::{
    registry::Lease,
    store::{
        Connected, Devices, Event, Failure, Output, Place, Record, Renewed, Reply, Request, slot_of_user,
    },
};
use crate::model::{Handle, Protocol};
use changes::{Change, Changes};
use fleet::Fleet;
use routes::Cache;
use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

/// What decides how it behaves. Times in ms.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Life of a lease: a dead node's records are routed to no longer than this.
    pub lease_ttl_ms: u64,
    /// Between renewals: two may be lost before a lease ends.
    pub renew_ms: u64,
    /// How long a route is believed.
    pub cache_ms: u64,
    /// Users in the cache.
    pub cache_max: usize,
    /// How long absence proves nothing after the registry has come back.
    pub freeze_ms: u64,
    /// Connections that the fleet registers again in a second after a loss.
    pub heal_rate: u64,
    /// Connections whose record is not yet what it should be; beyond, all are registered again, and what departs is left
    /// behind.
    pub unsettled_max: usize,
    /// Changes under way.
    pub window: usize,
    /// Users that are asked for at once; beyond, a lookup is answered [`Failure::Down`].
    pub lookups_max: usize,
    /// Displaced connections of other nodes that wait to be told.
    pub tells_max: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            lease_ttl_ms: 10_000,
            renew_ms: 3_000,
            cache_ms: 1_000,
            cache_max: 65_536,
            freeze_ms: 10_000,
            heal_rate: 20_000,
            unsettled_max: 1 << 20,
            window: 1_024,
            lookups_max: 65_536,
            tells_max: 65_536,
        }
    }
}

/// The connections of this node, as far as healing and truth need them.
pub trait Own {
    /// Whether the connection is there and takes messages.
    fn holds(&self, handle: Handle) -> bool;

    /// Shows at most `max` connections from a place in some order on; the place to go on from, None at the end.
    fn walk(&self, from: u64, max: usize, visit: &mut dyn FnMut(Arrived)) -> Option<u64>;
}

/// What happens.
#[derive(Debug)]
pub enum Input {
    /// The store has an answer, or an event.
    Store(Output),
    /// A connection of this node is there.
    Arrived(Arrived),
    /// A connection of this node is gone. The names are those of its arrival.
    Departed { handle: Handle, user: Box<str>, device: Box<str>, protocol: Protocol },
    /// Where are the user's connections at other nodes? Answered by [`Action::Found`] with this ticket.
    Lookup { ticket: u64, user: Box<str>, fresh: bool },
    /// A connection was not where a route said.
    Stale { user: Box<str> },
    /// Another node was told of a displaced connection, and has answered, or not.
    Told { place: Place, answered: bool },
    /// Another node says that this connection of this node is displaced.
    Displaced { place: Place },
}

/// What is to be done.
#[derive(Debug, PartialEq, Eq)]
pub enum Action {
    /// To be submitted to the store.
    Submit(u64, Request),
    /// A connection of this node has lost its device to a newer one elsewhere: it is to be closed.
    Close(Handle),
    /// The node at this address is to be told that its connection is displaced.
    Tell { address: String, place: Place },
    /// The answer to a lookup.
    Found { ticket: u64, found: Result<Arc<[Route]>, Failure> },
    /// A later run has this node's name: it leaves.
    StepDown { incarnation: u64 },
}

enum Asked {
    Register(Handle),
    Forget(Handle),
    /// A record that points to a connection which this node lacks; nobody waits.
    Purge,
    Lookup {
        user: Box<str>,
        at_ms: u64,
    },
    Renew,
    Leases {
        at_ms: u64,
    },
}

struct Waiting {
    tickets: Vec<u64>,
    /// What the registry said, while the table of nodes is asked for anew.
    said: Option<(u64, Devices)>,
}

struct Tell {
    next_ms: u64,
    under_way: bool,
}

/// Connections are registered again.
struct Healing {
    from: u64,
    /// None: all.
    slots: Option<Vec<std::ops::RangeInclusive<u16>>>,
    /// Registrations that may be asked for, and when that was worked out.
    allowance: f64,
    at_ms: u64,
}

/// See the module.
pub struct Registrar {
    settings: Settings,
    node: u64,
    incarnation: u64,
    lease: Lease,
    format: u8,
    next_id: u64,
    asked: HashMap<u64, Asked>,
    changes: Changes,
    changes_under_way: usize,
    fleet: Fleet,
    cache: Cache,
    waiting: HashMap<Box<str>, Waiting>,
    tells: HashMap<Place, Tell>,
    tells_due: VecDeque<Place>,
    healing: Option<Healing>,
    renew_at_ms: u64,
    renewed: bool,
    /// A renewal was not answered: what it found is not known.
    doubtful: bool,
    leases_at_ms: u64,
    leases_under_way: bool,
    actions: Vec<Action>,
    /// Whether the registry has ever answered.
    pub has_answered: bool,
    /// Records of this fleet's users that named another user.
    pub foreign: u64,
}

/// How often the table of nodes is asked for, ms.
const LEASES_EVERY_MS: u64 = 1_000;
/// How often another node is told of a displaced connection, until it answers, ms.
const TELL_EVERY_MS: u64 = 1_000;

impl Registrar {
    /// A node that has just begun. `lease` is what it says of itself, `format` the highest format of records it reads.
    pub fn new(settings: Settings, node: u64, lease: Lease, format: u8, now_ms: u64) -> Self {
        Self {
            node,
            incarnation: lease.incarnation,
            lease,
            format,
            next_id: 1,
            asked: HashMap::new(),
            changes: Changes::new(settings.unsettled_max),
            changes_under_way: 0,
            fleet: Fleet::default(),
            cache: Cache::new(settings.cache_ms, settings.cache_max),
            waiting: HashMap::new(),
            tells: HashMap::new(),
            tells_due: VecDeque::new(),
            healing: None,
            renew_at_ms: now_ms,
            renewed: false,
            doubtful: false,
            leases_at_ms: now_ms,
            leases_under_way: false,
            actions: Vec::new(),
            has_answered: false,
            foreign: 0,
            settings,
        }
    }

    /// What the node says of itself has changed; the next renewal says so.
    pub fn set_lease(&mut self, lease: Lease) {
        self.lease = lease;
    }

    /// Something has happened.
    pub fn handle(&mut self, now_ms: u64, input: Input, own: &dyn Own) {
        match input {
            Input::Store(Output::Answer { id, result, .. }) => self.handle_answer(now_ms, id, result, own),
            Input::Store(Output::Event(event)) => self.handle_event(now_ms, event),
            Input::Arrived(arrived) => self.changes.arrive(arrived),
            Input::Departed { handle, user, device, protocol } => {
                self.changes.depart(handle, &user, &device, protocol);
            }
            Input::Lookup { ticket, user, fresh } => self.look_up(now_ms, ticket, user, fresh),
            Input::Stale { user } => self.cache.evict(&user),
            Input::Told { place, answered } => self.told(now_ms, place, answered),
            Input::Displaced { place } => self.displaced(place, own),
        }
    }

    /// Time has passed, or something has happened: what is due is begun.
    pub fn advance(&mut self, now_ms: u64, own: &dyn Own) {
        self.renew(now_ms);
        self.ask_leases(now_ms, now_ms >= self.leases_at_ms);
        self.heal(now_ms, own);
        self.ask_changes(now_ms);
        self.tell(now_ms);
    }

    /// When to advance next at the latest, monotonic ms.
    pub fn next_ms(&self, now_ms: u64) -> u64 {
        let retry_ms = self.changes.next_retry_ms().unwrap_or(u64::MAX);
        let tell_ms = self.tells.values().filter(|tell| !tell.under_way).map(|tell| tell.next_ms).min();
        let heal_ms = if self.healing.is_some() { now_ms + 10 } else { u64::MAX };
        let first = self.renew_at_ms.min(self.leases_at_ms).min(retry_ms).min(heal_ms);
        first.min(tell_ms.unwrap_or(u64::MAX)).max(now_ms)
    }

    /// What is to be done, in order.
    pub fn take_actions(&mut self) -> Vec<Action> {
        std::mem::take(&mut self.actions)
    }

    /// The nodes that live.
    pub fn nodes(&self, now_ms: u64) -> impl Iterator<Item = &Lease> {
        self.fleet.leases(now_ms)
    }

    /// Where a node is, while it lives.
    pub fn lease_of(&self, node: u64, now_ms: u64) -> Option<&Lease> {
        self.fleet.lease_of(node, now_ms)
    }

    /// Changes that are not yet in the registry.
    pub fn unsettled(&self) -> usize {
        self.changes.len()
    }

    /// Whether connections are being registered again.
    pub fn is_healing(&self) -> bool {
        self.healing.is_some()
    }

    /// Masters that do not answer.
    pub fn away(&self) -> impl Iterator<Item = &str> {
        self.fleet.away()
    }

    fn submit(&mut self, asked: Asked, request: Request) {
        let id = self.next_id;
        self.next_id += 1;
        self.asked.insert(id, asked);
        self.actions.push(Action::Submit(id, request));
    }

    fn handle_answer(&mut self, now_ms: u64, id: u64, result: Result<Reply, Failure>, own: &dyn Own) {
        let Some(asked) = self.asked.remove(&id) else { return };
        self.has_answered |= result.is_ok();
        match (asked, result) {
            (Asked::Register(handle), result) => {
                self.changes_under_way -= 1;
                match result {
                    Ok(Reply::Connected(connected)) => self.registered(now_ms, handle, connected),
                    _ => self.changes.failed(handle, now_ms),
                }
            }
            (Asked::Forget(handle), result) => {
                self.changes_under_way -= 1;
                match result {
                    Ok(_) => self.changes.settled(handle),
                    Err(_) => self.changes.failed(handle, now_ms),
                }
            }
            (Asked::Lookup { user, at_ms }, Ok(Reply::Devices(devices))) => {
                self.found(now_ms, user, at_ms, devices, own);
            }
            (Asked::Lookup { user, .. }, result) => {
                let failure = result.err().unwrap_or(Failure::Misattributed);
                self.answer(&user, &Err(failure));
            }
            (Asked::Renew, Ok(Reply::Renewed(renewed))) => self.renewed(now_ms, renewed),
            // It may have been carried out, and have found the lease gone.
            (Asked::Renew, _) => self.doubtful = true,
            (Asked::Purge, _) => {}
            (Asked::Leases { at_ms }, result) => {
                self.leases_under_way = false;
                if let Ok(Reply::Leases(leases)) = result {
                    self.fleet.learn(at_ms, now_ms, leases);
                }
                self.look_again(now_ms, own);
            }
        }
    }

    fn handle_event(&mut self, now_ms: u64, event: Event) {
        match event {
            Event::Up { master, .. } => self.fleet.regain(&master, now_ms, self.settings.freeze_ms),
            Event::Down { master, .. } => self.fleet.lose(&master),
            Event::Lost { slots, .. } => {
                self.fleet.freeze(now_ms, self.settings.freeze_ms);
                self.begin_healing(now_ms, Some(slots));
            }
            Event::Dropped { .. } => {}
        }
    }

    fn registered(&mut self, now_ms: u64, handle: Handle, connected: Connected) {
        match connected {
            Connected::Stands { displaced } => {
                self.changes.registered(handle);
                // Of this node's own the directory knows already, and an earlier run of it has no connections.
                if let Some(record) = displaced.filter(|record| record.place.node != self.node) {
                    self.begin_to_tell(now_ms, record);
                }
            }
            Connected::Beaten { by } => {
                self.changes.settled(handle);
                if by.place.connection != handle || by.place.node != self.node {
                    self.actions.push(Action::Close(handle));
                }
            }
        }
    }

    fn ask_changes(&mut self, now_ms: u64) {
        while self.changes_under_way < self.settings.window {
            let Some(change) = self.changes.next(now_ms) else { return };
            self.changes_under_way += 1;
            match change {
                Change::Register(arrived) => {
                    let Arrived { handle, user, device, protocol, began_ms, ends_ms } = arrived;
                    let place = self.place(handle);
                    let age_ms = now_ms.saturating_sub(began_ms);
                    let life_ms = ends_ms.saturating_sub(now_ms).max(1);
                    let request = Request::Connect { user, device, place, protocol, age_ms, life_ms };
                    self.submit(Asked::Register(handle), request);
                }
                Change::Forget { handle, user, device } => {
                    let place = self.place(handle);
                    self.submit(Asked::Forget(handle), Request::Disconnect { user, device, place });
                }
            }
        }
    }

    fn place(&self, handle: Handle) -> Place {
        Place { node: self.node, incarnation: self.incarnation, connection: handle }
    }

    fn look_up(&mut self, now_ms: u64, ticket: u64, user: Box<str>, fresh: bool) {
        if fresh {
            self.cache.evict(&user);
        }
        if let Some(routes) = self.cache.get(&user, now_ms) {
            self.actions.push(Action::Found { ticket, found: Ok(routes) });
            return;
        }
        // A question that is under way may have been answered before a fresh one was due.
        if let Some(waiting) = self.waiting.get_mut(&user).filter(|_| !fresh) {
            waiting.tickets.push(ticket);
            return;
        }
        if self.waiting.len() >= self.settings.lookups_max {
            self.actions.push(Action::Found { ticket, found: Err(Failure::Down) });
            return;
        }
        let waiting = self.waiting.entry(user.clone()).or_insert(Waiting { tickets: Vec::new(), said: None });
        waiting.tickets.push(ticket);
        waiting.said = None;
        self.submit(Asked::Lookup { user: user.clone(), at_ms: now_ms }, Request::Lookup { user });
    }

    fn found(&mut self, now_ms: u64, user: Box<str>, at_ms: u64, devices: Devices, own: &dyn Own) {
        self.foreign += devices.foreign.len() as u64;
        let unknown = devices.devices.iter().any(|device| {
            let place = &device.record.place;
            place.node != self.node && self.fleet.life_of(place, now_ms) == Life::Unknown
        });
        // A node that began a moment ago is not yet in the table.
        if unknown && !self.fleet.is_fresh(at_ms) {
            if let Some(waiting) = self.waiting.get_mut(&user) {
                waiting.said = Some((at_ms, devices));
                self.ask_leases(now_ms, true);
            }
            return;
        }
        self.resolve(now_ms, &user, at_ms, devices, own);
    }

    /// The table of nodes is as new as can be: those who waited for it are answered.
    fn look_again(&mut self, now_ms: u64, own: &dyn Own) {
        let users: Vec<Box<str>> = self
            .waiting
            .iter()
            .filter(|(_, waiting)| waiting.said.is_some())
            .map(|(user, _)| user.clone())
            .collect();
        for user in users {
            let said = self.waiting.get_mut(&user).and_then(|waiting| waiting.said.take());
            if let Some((at_ms, devices)) = said {
                self.resolve(now_ms, &user, at_ms, devices, own);
            }
        }
    }

    fn resolve(&mut self, now_ms: u64, user: &str, at_ms: u64, devices: Devices, own: &dyn Own) {
        let foreign = !devices.foreign.is_empty();
        let frozen = self.fleet.is_frozen(now_ms);
        let (mut routes, mut doubtful) = (Vec::new(), foreign);
        for device in devices.devices {
            let place = device.record.place;
            if place.node == self.node {
                if place.incarnation != self.incarnation || !own.holds(place.connection) {
                    self.purge(user, device.device, place);
                }
                continue;
            }
            match self.fleet.life_of(&place, now_ms) {
                Life::Live => routes.push(Route::new(device.device, &device.record)),
                Life::Dead => {}
                // Absence proves nothing while it is frozen; but whom to ask is not known either.
                Life::Unknown => doubtful |= frozen,
            }
        }
        let routes: Arc<[Route]> = routes.into();
        if routes.is_empty() && doubtful {
            let failure = if foreign { Failure::Misattributed } else { Failure::Down };
            return self.answer(user, &Err(failure));
        }
        self.cache.put(user, routes.clone(), at_ms);
        self.answer(user, &Ok(routes));
    }

    /// A record of this node's, of which this node knows nothing.
    fn purge(&mut self, user: &str, device: Box<str>, place: Place) {
        self.submit(Asked::Purge, Request::Disconnect { user: user.into(), device, place });
    }

    fn answer(&mut self, user: &str, found: &Result<Arc<[Route]>, Failure>) {
        let Some(waiting) = self.waiting.remove(user) else { return };
        let found = waiting.tickets.into_iter().map(|ticket| Action::Found { ticket, found: found.clone() });
        self.actions.extend(found);
    }

    fn renew(&mut self, now_ms: u64) {
        if now_ms < self.renew_at_ms {
            return;
        }
        self.renew_at_ms = now_ms + self.settings.renew_ms;
        let (lease, format, ttl_ms) = (self.lease.clone(), self.format, self.settings.lease_ttl_ms);
        self.submit(Asked::Renew, Request::RenewLease { lease, format, ttl_ms });
    }

    fn renewed(&mut self, now_ms: u64, renewed: Renewed) {
        match renewed {
            Renewed::Kept | Renewed::TookOver { .. } if !self.doubtful => {}
            Renewed::Absent if !self.renewed && !self.doubtful => {}
            Renewed::Kept | Renewed::TookOver { .. } | Renewed::Absent => {
                self.fleet.freeze(now_ms, self.settings.freeze_ms);
                self.begin_healing(now_ms, None);
            }
            Renewed::Superseded { incarnation } => self.actions.push(Action::StepDown { incarnation }),
        }
        self.renewed = true;
        self.doubtful = false;
    }

    fn ask_leases(&mut self, now_ms: u64, due: bool) {
        if due && !self.leases_under_way {
            self.leases_under_way = true;
            self.leases_at_ms = now_ms + LEASES_EVERY_MS;
            self.submit(Asked::Leases { at_ms: now_ms }, Request::Leases);
        }
    }

    fn begin_healing(&mut self, now_ms: u64, slots: Option<Vec<std::ops::RangeInclusive<u16>>>) {
        let slots = match (self.healing.take().map(|healing| healing.slots), slots) {
            (None, slots) => slots,
            (Some(Some(mut held)), Some(more)) => {
                held.extend(more);
                Some(held)
            }
            (Some(_), _) => None,
        };
        self.healing = Some(Healing { from: 0, slots, allowance: 0.0, at_ms: now_ms });
    }

    /// Goes on registering again what a loss may have taken, at the node's share of the rate.
    fn heal(&mut self, now_ms: u64, own: &dyn Own) {
        if self.changes.overflowed && self.healing.is_none() {
            self.changes.overflowed = false;
            self.begin_healing(now_ms, None);
        }
        let nodes = self.fleet.leases(now_ms).count().max(1);
        let Some(healing) = &mut self.healing else { return };
        let rate_per_ms = self.settings.heal_rate as f64 / 1_000.0 / nodes as f64;
        healing.allowance = (healing.allowance + (now_ms - healing.at_ms) as f64 * rate_per_ms).min(10_000.0);
        healing.at_ms = now_ms;
        let max = healing.allowance as usize;
        if max == 0 {
            return;
        }
        let (slots, changes) = (&healing.slots, &mut self.changes);
        let mut visited = 0;
        let next = own.walk(healing.from, max, &mut |arrived| {
            visited += 1;
            let is_in =
                |slot: u16| slots.as_ref().is_none_or(|slots| slots.iter().any(|some| some.contains(&slot)));
            if is_in(slot_of_user(&arrived.user)) {
                changes.arrive(arrived);
            }
        });
        healing.allowance -= f64::from(visited);
        match next {
            Some(from) => healing.from = from,
            None => self.healing = None,
        }
    }

    fn begin_to_tell(&mut self, now_ms: u64, record: Record) {
        if self.tells.len() < self.settings.tells_max {
            self.tells.entry(record.place).or_insert(Tell { next_ms: now_ms, under_way: false });
            self.tells_due.push_back(record.place);
        }
    }

    /// Tells other nodes of connections that were displaced, until they answer or are dead.
    fn tell(&mut self, now_ms: u64) {
        for _ in 0..self.tells_due.len() {
            let Some(place) = self.tells_due.pop_front() else { return };
            let Some(tell) = self.tells.get_mut(&place).filter(|tell| !tell.under_way) else { continue };
            if now_ms < tell.next_ms {
                self.tells_due.push_back(place);
                continue;
            }
            match (self.fleet.life_of(&place, now_ms), self.fleet.lease_of(place.node, now_ms)) {
                (Life::Dead, _) => drop(self.tells.remove(&place)),
                (Life::Live, Some(lease)) => {
                    tell.under_way = true;
                    self.actions.push(Action::Tell { address: lease.address.clone(), place });
                }
                // Not in the table, and it is fresh: dead. Else the table will say.
                _ if self.fleet.is_fresh(tell.next_ms) && !self.fleet.is_frozen(now_ms) => {
                    self.tells.remove(&place);
                }
                _ => {
                    tell.next_ms = tell.next_ms.max(now_ms);
                    self.tells_due.push_back(place);
                    if !self.leases_under_way {
                        self.leases_at_ms = self.leases_at_ms.min(now_ms);
                    }
                    return;
                }
            }
        }
    }

    fn told(&mut self, now_ms: u64, place: Place, answered: bool) {
        if answered {
            self.tells.remove(&place);
        } else if let Some(tell) = self.tells.get_mut(&place) {
            (tell.under_way, tell.next_ms) = (false, now_ms + TELL_EVERY_MS);
            self.tells_due.push_back(place);
        }
    }

    fn displaced(&mut self, place: Place, own: &dyn Own) {
        let ours = place.node == self.node && place.incarnation == self.incarnation;
        if ours && own.holds(place.connection) {
            self.actions.push(Action::Close(place.connection));
        }
    }
}

#[cfg(test)]
mod tests;
