//! What this node tells the registry of its connections, and what it believes of those of others: decisions only.
//!
//! Owns registration, retries, leases, the freeze, healing, questions for routes, and the news for displaced connections. Does no
//! I/O and reads no clock: [`Input`]s and the time in, [`Action`]s out, so that a simulation can run many of it on a
//! registry that lies, loses and delays. All times that are not said to be the registry's are monotonic.
//!
//! The node's own connections are not asked of the registry: its directory knows them. What the registry says of this node's
//! own, and the directory does not know, is removed there.
//!
//! | file | what |
//! |---|---|
//! | `seam.rs` | inputs, actions, settings |
//! | `changes.rs` | connections whose record is not yet what it should be |
//! | `lookups.rs` | questions for other nodes' connections |
//! | `fleet.rs` | which nodes live, and the freeze |
//! | `healing.rs` | registering again after a loss |
//! | `tells.rs` | displaced connections of other nodes |

mod changes;
mod fleet;
mod healing;
mod lookups;
mod seam;
mod tells;

pub use changes::Arrived;
pub use seam::{Action, Input, Own, Settings};

use super::{
    format,
    registry::Lease,
    store::{Connected, Event, Failure, LiveLease, Output, Place, Renewed, Reply, Request},
};
use crate::{
    kit::{mutant::Mutant, window::Window},
    model::{Handle, Reason},
};
use changes::{Change, Changes};
use fleet::{Fleet, Life};
use healing::Healing;
use lookups::Lookups;
use tells::Tells;

/// Why the store was asked.
enum Asked {
    Register(Handle),
    Forget(Handle),
    /// A record that points to a connection which this node lacks; nobody waits.
    Purge {
        user: Box<str>,
    },
    Lookup {
        user: Box<str>,
        at_ms: u64,
    },
    Renew,
    Leases {
        at_ms: u64,
    },
}

/// See the module.
pub struct Registrar {
    settings: Settings,
    node: u64,
    incarnation: u64,
    lease: Lease,
    format: u8,
    next_id: u64,
    asked: Window<Asked>,
    changes: Changes,
    changes_under_way: usize,
    fleet: Fleet,
    lookups: Lookups,
    tells: Tells,
    healing: Option<Healing>,
    renew_at_ms: u64,
    /// When this node's lease was made, by the registry's clock: when that is another time, it was lost between.
    lease_since_ms: Option<u64>,
    /// When the registry last said that the lease is there.
    lease_seen_ms: u64,
    leases_at_ms: u64,
    leases_under_way: bool,
    actions: Vec<Action>,
    /// Whether the registry has ever answered.
    pub has_answered: bool,
    /// Records of this fleet's users that named another user.
    pub foreign: u64,
}

/// The pause before a renewal that failed is asked for again, ms.
const RENEW_AGAIN_MS: u64 = 500;
/// How often connections are registered again while that goes on, ms: few at a time, since questions for routes wait behind them.
const HEAL_EVERY_MS: u64 = 2;
/// How often the table of nodes is asked for, ms.
const LEASES_EVERY_MS: u64 = 1_000;

impl Registrar {
    /// A node that has just begun. `lease` is what it says of itself, `format` the highest format of records it reads.
    pub fn new(settings: Settings, node: u64, lease: Lease, format: u8, now_ms: u64) -> Self {
        Self {
            node,
            incarnation: lease.incarnation,
            lease,
            format,
            next_id: 1,
            asked: Window::default(),
            changes: Changes::new(settings.unsettled_max),
            changes_under_way: 0,
            fleet: Fleet::default(),
            lookups: Lookups::default(),
            tells: Tells::default(),
            healing: None,
            renew_at_ms: now_ms,
            lease_since_ms: None,
            lease_seen_ms: 0,
            leases_at_ms: now_ms,
            leases_under_way: false,
            actions: Vec::new(),
            has_answered: false,
            foreign: 0,
            settings,
        }
    }

    /// What the node says of itself has changed; the next renewal says so. That it leaves, or stays after all, is not left to
    /// wait.
    pub fn set_lease(&mut self, mut lease: Lease) {
        lease.incarnation = self.incarnation;
        if lease.draining != self.lease.draining {
            self.renew_at_ms = 0;
        }
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
            Input::Lacking { user, device, place } => self.lacking(user, device, place, own),
            Input::Told { place, answered } => self.told(now_ms, place, answered),
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
        // What waits for an answer, or for room, is not due before there is one.
        let retry_ms = self.changes.next_retry_ms().filter(|_| self.asks_changes()).unwrap_or(u64::MAX);
        let leases_ms = if self.leases_under_way { u64::MAX } else { self.leases_at_ms };
        let tell_ms = self.next_tell_ms().unwrap_or(u64::MAX);
        let heal_ms = if self.healing.is_some() { now_ms + HEAL_EVERY_MS } else { u64::MAX };
        let first = self.renew_at_ms.min(leases_ms).min(retry_ms).min(heal_ms);
        first.min(tell_ms).max(now_ms)
    }

    /// What is to be done, in order.
    pub fn take_actions(&mut self) -> Vec<Action> {
        std::mem::take(&mut self.actions)
    }

    /// This run of the node, as the registry knows it.
    pub fn incarnation(&self) -> u64 {
        self.incarnation
    }

    /// What this node says of itself.
    pub fn lease(&self) -> &Lease {
        &self.lease
    }

    /// The nodes that live, as far as the registry has said.
    pub fn nodes(&self, now_ms: u64) -> impl Iterator<Item = &Lease> {
        self.fleet.leases(now_ms)
    }

    /// Where the nodes that live are, and the highest format that each reads.
    pub fn formats(&self, now_ms: u64) -> impl Iterator<Item = (&str, u8)> {
        self.fleet.formats(now_ms)
    }

    /// Whether the node of a connection lives, in that run.
    pub fn lives(&self, place: &Place, now_ms: u64) -> bool {
        self.fleet.life_of(place, now_ms) == Life::Live
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

    /// Connections that departed while too much was unsettled: their records are left to their end, or to who finds the
    /// connection lacking.
    pub fn left_behind(&self) -> u64 {
        self.changes.left_behind
    }

    fn submit(&mut self, asked: Asked, request: Request) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        self.asked.insert(id, asked);
        self.actions.push(Action::Submit(id, request));
        id
    }

    fn handle_answer(&mut self, now_ms: u64, id: u64, result: Result<Reply, Failure>, own: &dyn Own) {
        let Some(asked) = self.asked.remove(id) else { return };
        self.has_answered |= result.is_ok();
        match (asked, result) {
            (Asked::Register(handle), result) => {
                self.changes_under_way -= 1;
                match result {
                    Ok(Reply::Connected(connected)) => self.registered(now_ms, handle, connected, own),
                    _ => self.changes.failed(handle, now_ms),
                }
            }
            (Asked::Forget(handle), result) => {
                self.changes_under_way -= 1;
                match result {
                    Ok(reply) => {
                        if let Some(user) = self.changes.settled(handle) {
                            self.removed(now_ms, &reply, &user, own);
                        }
                    }
                    Err(_) => self.changes.failed(handle, now_ms),
                }
            }
            (Asked::Purge { user }, Ok(reply)) => self.removed(now_ms, &reply, &user, own),
            (Asked::Lookup { user, at_ms }, Ok(Reply::Devices(devices))) => {
                self.found(now_ms, id, user, at_ms, devices, own);
            }
            (Asked::Lookup { user, .. }, result) => {
                let failure = result.err().unwrap_or(Failure::Misattributed);
                self.answer(&user, id, &Err(failure));
            }
            (Asked::Renew, Ok(Reply::Renewed(renewed))) => self.renewed(now_ms, renewed),
            // Before the lease ends there is time for several more.
            (Asked::Renew, _) => self.renew_at_ms = self.renew_at_ms.min(now_ms + RENEW_AGAIN_MS),
            (Asked::Purge { .. }, _) => {}
            (Asked::Leases { at_ms }, result) => {
                self.leases_under_way = false;
                if let Ok(Reply::Leases(leases)) = result {
                    self.look_for_own(at_ms, now_ms, &leases);
                    self.fleet.learn(at_ms, now_ms, leases);
                }
                self.look_again(now_ms, own);
            }
        }
    }

    fn handle_event(&mut self, now_ms: u64, event: Event) {
        match event {
            Event::Up { slots, .. } => self.fleet.regain(&slots, now_ms, self.settings.freeze_ms),
            Event::Down { master, slots, .. } => self.fleet.lose(master, slots),
            Event::Lost { slots, .. } => {
                self.fleet.regain(&slots, now_ms, self.settings.freeze_ms);
                self.fleet.freeze(now_ms, self.settings.freeze_ms);
                if !Mutant::LossNotHealed.is_on() {
                    self.begin_healing(now_ms, Some(slots));
                }
            }
            Event::Dropped { .. } => {}
        }
    }

    fn registered(&mut self, now_ms: u64, handle: Handle, connected: Connected, own: &dyn Own) {
        match connected {
            Connected::Stands { displaced } => {
                if let Some(user) = self.changes.registered(handle) {
                    self.begin_to_tell(now_ms, &displaced, &user, own);
                }
            }
            Connected::Beaten { by } if self.is_past(handle, &by.place, own) => {
                if let Some(Arrived { user, device, .. }) = self.changes.arrived(handle).cloned() {
                    self.lacking(user, device, by.place, own);
                    self.changes.failed(handle, now_ms);
                }
            }
            Connected::Beaten { by } => {
                self.changes.settled(handle);
                if by.place.connection != handle || by.place.node != self.node {
                    self.actions.push(Action::Close(handle, Reason::Displaced));
                }
            }
            Connected::Fought { by } => self.fought(now_ms, handle, by.place, own),
        }
    }

    /// The device was taken over too often of late, so its holder stays, if it is there. Only who lives has renewed its lease
    /// since the newcomer came: a client whose nodes die one after the other fights with nobody. What is not there holds
    /// nothing: its record goes. Until one or the other is known, the newcomer waits.
    fn fought(&mut self, now_ms: u64, handle: Handle, holder: Place, own: &dyn Own) {
        let Some(Arrived { user, device, began_ms, .. }) = self.changes.waiting(handle).cloned() else {
            self.changes.settled(handle);
            return;
        };
        let is_own = holder.node == self.node && holder.incarnation == self.incarnation;
        let is_gone = match is_own {
            true => !own.holds(&user, holder.connection),
            false => self.fleet.is_dead(&holder, began_ms, now_ms),
        };
        if is_gone {
            let asked = Asked::Purge { user: user.clone() };
            self.submit(asked, Request::Disconnect { user, device, place: holder });
        } else if self.fleet.has_renewed(&holder, began_ms, self.settings.lease_ttl_ms) {
            self.changes.settled(handle);
            self.actions.push(Action::Close(handle, Reason::TakeoverFight));
            return;
        }
        self.changes.failed(handle, now_ms);
    }

    /// Whether what has beaten a connection is one of this run that is gone. Of two that began in one moment the registry
    /// cannot say which is newer; the directory can.
    fn is_past(&self, handle: Handle, by: &Place, own: &dyn Own) -> bool {
        let is_own = (by.node, by.incarnation) == (self.node, self.incarnation) && by.connection != handle;
        let user = self.changes.arrived(handle).map(|arrived| &arrived.user);
        is_own && user.is_some_and(|user| !own.holds(user, by.connection))
    }

    /// A record of this node's is gone. Whom its connection displaced, this node may not have heard before.
    fn removed(&mut self, now_ms: u64, reply: &Reply, user: &str, own: &dyn Own) {
        if let Reply::Disconnected { displaced: Some(record), .. } = reply {
            self.begin_to_tell(now_ms, &[*record], user, own);
        }
    }

    /// Nothing is registered before the node has a lease: without one nobody would believe it.
    fn asks_changes(&self) -> bool {
        self.lease_since_ms.is_some() && self.changes_under_way < self.settings.window
    }

    fn ask_changes(&mut self, now_ms: u64) {
        while self.asks_changes() {
            let Some(change) = self.changes.next(now_ms) else { return };
            self.changes_under_way += 1;
            match change {
                Change::Register(arrived) => {
                    let Arrived { handle, user, device, protocol, began_ms, ends_ms } = arrived;
                    let place = self.place(handle);
                    let age_ms = if Mutant::AgeIgnored.is_on() { 0 } else { now_ms.saturating_sub(began_ms) };
                    let life_ms = ends_ms.saturating_sub(now_ms).max(1);
                    let format = self.format_to_write(now_ms);
                    let request = Request::Connect { user, device, place, protocol, age_ms, life_ms, format };
                    self.submit(Asked::Register(handle), request);
                }
                Change::Forget { handle, user, device } => {
                    let place = self.place(handle);
                    self.submit(Asked::Forget(handle), Request::Disconnect { user, device, place });
                }
            }
        }
    }

    /// The highest format of records that every live node reads; until they are known, the one before this node's own.
    fn format_to_write(&self, now_ms: u64) -> u8 {
        format::to_write(self.format, self.formats(now_ms).map(|(_, format)| format).min())
    }

    fn place(&self, handle: Handle) -> Place {
        Place { node: self.node, incarnation: self.incarnation, connection: handle }
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
        let since_ms = match renewed {
            Renewed::Kept { since_ms }
            | Renewed::Absent { since_ms }
            | Renewed::TookOver { since_ms, .. } => since_ms,
            // It has just begun, and its host's clock is behind: it takes a higher number, and nothing is registered yet.
            Renewed::Superseded { incarnation } if self.lease_since_ms.is_none() => {
                self.incarnation = incarnation + 1;
                self.lease.incarnation = self.incarnation;
                self.renew_at_ms = 0;
                return;
            }
            Renewed::Superseded { incarnation } => {
                self.actions.push(Action::StepDown { incarnation });
                return;
            }
        };
        self.lease_seen_ms = now_ms;
        if self.lease_since_ms.replace(since_ms).is_some_and(|known_ms| known_ms != since_ms) {
            self.fleet.freeze(now_ms, self.settings.freeze_ms);
            self.begin_healing(now_ms, None);
        }
    }

    /// A table without this node's own lease proves nothing of others: the registry has lost it, or takes no renewals.
    fn look_for_own(&mut self, asked_ms: u64, now_ms: u64, leases: &[LiveLease]) {
        let had_one = self.lease_since_ms.is_some() && asked_ms > self.lease_seen_ms;
        if had_one && !leases.iter().any(|held| held.lease.node == self.lease.node) {
            self.fleet.freeze(now_ms, self.settings.freeze_ms);
            self.renew_at_ms = now_ms;
        }
    }

    fn ask_leases(&mut self, now_ms: u64, due: bool) {
        if due && !self.leases_under_way {
            self.leases_under_way = true;
            self.leases_at_ms = now_ms + LEASES_EVERY_MS;
            self.submit(Asked::Leases { at_ms: now_ms }, Request::Leases);
        }
    }
}

#[cfg(test)]
mod tests;
