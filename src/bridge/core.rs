//! What the bridge's thread does in a turn: letters, answers and changes in, requests and letters out.
//!
//! Owns the registrar and what connects it with the rest of the node: the directory whose changes it tells, the routes that it
//! has found, the connections that it has closed. Does no I/O and reads no clock, so that the simulation runs it as it is.

use super::{
    registrar::{self, Action, Arrived, Input, Own, Registrar},
    registry::{Answer, FleetRegistry, Health, Lease, View},
    router::{Peering, Router},
    store::{Event, Failure, Full, Output, Place, Request},
};
use crate::{
    directory::{Change, Changed, Directory},
    kit::{mailbox::Receiver, mailbox::Sender, time::Now, window::Window},
    model::{Handle, Reason},
    stats::{NodeStats, RegistryState},
};
use futures_channel::oneshot;
use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

/// What other threads tell the bridge.
pub enum ToBridge {
    /// Where do other nodes hold connections of the user?
    Lookup {
        /// Whose.
        user: Box<str>,
        /// Whether only what the registry says from now on will do.
        fresh: bool,
        /// Where the answer goes.
        answer: oneshot::Sender<Answer>,
    },
    /// Another node was sure of a connection which this node lacks.
    Forget {
        /// As the other node had it.
        user: Box<str>,
        /// As the other node had it.
        device: Box<str>,
        /// The connection.
        place: Place,
    },
    /// Another node was told of its displaced connection, or did not answer.
    Told {
        /// The connection.
        place: Place,
        /// Whether it has answered.
        answered: bool,
    },
    /// What the node says of itself has changed.
    Lease(Lease),
    /// The node leaves: what is yet to be told is told, then the lease goes.
    Leave,
}

impl ToBridge {
    /// The lane of leases and of the end.
    pub const CONTROL: usize = 0;
    /// The lane of [`ToBridge::Told`].
    pub const TOLD: usize = 1;
    /// The lane of questions.
    pub const QUESTIONS: usize = 2;
    /// The lane of [`ToBridge::Forget`].
    pub const FORGETS: usize = 3;

    /// Room in each lane. Tells under way are bounded by the registrar, so that theirs never fills. Questions: a second's
    /// worth; when full, whoever asks is answered that the registry is too slow. Forgets: one too many is left to the next
    /// node that is sure.
    pub const ROOM: [usize; 4] = [1_024, 4_096, 65_536, 16_384];
}

/// Letters and answers that are handled in a turn.
const TURN_MAX: usize = 4_096;
/// Connections whose change the registrar works on; the rest wait in the journal, or as marks in the directory.
const UNSETTLED_MAX: usize = 65_536;
/// Records looked at for marks in a turn.
const WALK_MAX: usize = 4_096;
/// Between two looks at the fleet for those who look, ms.
const VIEW_EVERY_MS: u64 = 200;
/// How long a refusal of the registry's shows in the node's health, ms.
const REFUSED_SHOWS_MS: u64 = 5_000;

/// What the bridge is made of.
pub struct Parts {
    /// Of the registrar.
    pub settings: registrar::Settings,
    /// The number of this node's id.
    pub node: u64,
    /// What the node says of itself.
    pub lease: Lease,
    /// The highest format that it reads.
    pub format: u8,
    /// The node's own connections.
    pub directory: Arc<Directory>,
    /// Closes those that are displaced.
    pub router: Arc<Router>,
    /// Tells other nodes of theirs.
    pub peering: Arc<dyn Peering>,
    /// What others see.
    pub registry: Arc<FleetRegistry>,
    /// Where letters come in.
    pub mail: Receiver<ToBridge>,
    /// The same mailbox's other end.
    pub sender: Sender<ToBridge>,
    /// Where the directory's changes come in.
    pub changes: Receiver<Changed>,
    /// Where it is counted.
    pub stats: Arc<NodeStats>,
}

/// What a turn has left to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Turn {
    /// There is more to do at once.
    pub more: bool,
    /// When to take the next turn at the latest, monotonic ms.
    pub next_ms: u64,
    /// A later run has this node's name.
    pub superseded: Option<u64>,
    /// Changes of connections that were taken.
    pub changes: usize,
    /// The node leaves.
    pub leaving: bool,
    /// Nothing is left to be told to the registry.
    pub told_all: bool,
}

struct Asking {
    user: Box<str>,
    asked_ms: u64,
    answer: oneshot::Sender<Answer>,
}

/// See the module.
pub struct Bridge {
    registrar: Registrar,
    own: Connections,
    peering: Arc<dyn Peering>,
    registry: Arc<FleetRegistry>,
    mail: Receiver<ToBridge>,
    sender: Sender<ToBridge>,
    changes: Receiver<Changed>,
    stats: Arc<NodeStats>,
    letters: Vec<ToBridge>,
    changed: Vec<Changed>,
    /// Who has asked what, by the ticket.
    asking: Window<Asking>,
    next_ticket: u64,
    /// Which operation each request is, for its timing.
    operations: Window<&'static str>,
    /// Connections to be closed whose shard had no room for the letter.
    closing: VecDeque<(Handle, Reason)>,
    /// Where the walk over marks goes on; None: there is none.
    walking: Option<u64>,
    viewed_ms: u64,
    /// Why each master is away.
    causes: HashMap<String, String>,
    refused: Option<(u64, String)>,
    leaving: bool,
}

impl Bridge {
    /// A bridge that has told nobody anything.
    pub fn new(parts: Parts, now: Now) -> Self {
        let Parts { settings, node, lease, format, directory, router, peering, registry, .. } = parts;
        Self {
            registrar: Registrar::new(settings, node, lease, format, now.millis()),
            own: Connections { directory, router, now_ms: now.millis() },
            peering,
            registry,
            mail: parts.mail,
            sender: parts.sender,
            changes: parts.changes,
            stats: parts.stats,
            letters: Vec::new(),
            changed: Vec::new(),
            asking: Window::default(),
            next_ticket: 0,
            operations: Window::default(),
            closing: VecDeque::new(),
            walking: None,
            viewed_ms: 0,
            causes: HashMap::new(),
            refused: None,
            leaving: false,
        }
    }

    /// Takes in what the store has delivered and what waits in the mailboxes, and does what follows. `submit` gives a request
    /// to the store.
    pub fn turn(
        &mut self,
        now: Now,
        outputs: impl IntoIterator<Item = Output>,
        submit: &mut dyn FnMut(u64, Request) -> Result<(), Full>,
    ) -> Turn {
        let now_ms = now.millis();
        self.own.now_ms = now_ms;
        let mut looked_at = false;
        for output in outputs {
            looked_at |= matches!(output, Output::Event(_));
            self.hear(now_ms, output);
        }
        let mut more = self.read_letters(now_ms);
        let (changes, more_changes) = self.read_changes(now_ms);
        more |= more_changes;
        self.registrar.advance(now_ms, &self.own);
        // Before the first record that carries it is written.
        self.registry.set_incarnation(self.registrar.incarnation());
        let superseded = self.act(now_ms, submit);
        self.close_displaced();
        if looked_at || now_ms >= self.viewed_ms + VIEW_EVERY_MS {
            self.show(now_ms);
        }
        let next_ms = self.registrar.next_ms(now_ms).min(self.viewed_ms + VIEW_EVERY_MS);
        let told_all = !more && self.registrar.unsettled() == 0;
        Turn { more, next_ms, superseded, changes, leaving: self.leaving, told_all }
    }

    /// Whether all that there is to tell the registry is told, and nothing is being registered again.
    #[cfg(any(test, feature = "sim"))]
    pub fn is_settled(&self) -> bool {
        let missed = self.own.directory.journal().is_some_and(|journal| journal.has_missed());
        let quiet = self.changes.is_empty() && self.walking.is_none() && !missed;
        quiet && self.registrar.unsettled() == 0 && !self.registrar.is_healing()
    }

    fn hear(&mut self, now_ms: u64, output: Output) {
        match &output {
            Output::Answer { id, result, took_us } => {
                if let Some(operation) = self.operations.remove(*id) {
                    self.stats.registry(operation, *took_us);
                }
                if let Err(Failure::Refused(why)) = result {
                    if self.refused.is_none() {
                        tracing::warn!(why, "the registry refuses");
                    }
                    self.refused = Some((now_ms, why.clone()));
                }
            }
            Output::Event(event) => self.note(now_ms, event),
        }
        self.registrar.handle(now_ms, Input::Store(output), &self.own);
    }

    fn note(&mut self, now_ms: u64, event: &Event) {
        match event {
            Event::Up { master, .. } => {
                self.causes.remove(master);
                self.causes.remove("");
                tracing::info!(master, "the registry answers");
            }
            Event::Down { master, cause, .. } => {
                // It may be said again and again while it lasts.
                if self.causes.insert(master.clone(), cause.clone()).is_none() {
                    tracing::warn!(
                        master,
                        cause,
                        "the registry does not answer; what is known is used meanwhile"
                    );
                }
            }
            Event::Dropped { master, cause } => {
                self.stats.fleet.registry_dropped();
                tracing::warn!(master, ?cause, "a connection to the registry was dropped; a new one is made");
            }
            Event::Lost { master, .. } => {
                self.registry.distrust(now_ms);
                self.stats.fleet.registry_lost();
                tracing::warn!(master, "the registry may have lost writes: connections are registered again");
            }
        }
    }

    fn read_letters(&mut self, now_ms: u64) -> bool {
        let mut letters = std::mem::take(&mut self.letters);
        let more = self.mail.take(TURN_MAX, &mut letters);
        for letter in letters.drain(..) {
            let input = match letter {
                ToBridge::Lookup { user, fresh, answer } => {
                    self.next_ticket += 1;
                    let ticket = self.next_ticket;
                    self.asking.insert(ticket, Asking { user: user.clone(), asked_ms: now_ms, answer });
                    Input::Lookup { ticket, user, fresh }
                }
                ToBridge::Forget { user, device, place } => Input::Lacking { user, device, place },
                ToBridge::Told { place, answered } => Input::Told { place, answered },
                ToBridge::Lease(lease) => {
                    self.registrar.set_lease(lease);
                    continue;
                }
                ToBridge::Leave => {
                    self.leaving = true;
                    continue;
                }
            };
            self.registrar.handle(now_ms, input, &self.own);
        }
        self.letters = letters;
        more
    }

    /// Takes changes as long as the registrar has room for them. Says how many, and whether there are more that it has room for.
    fn read_changes(&mut self, now_ms: u64) -> (usize, bool) {
        let journal = self.own.directory.journal();
        if journal.is_some_and(|journal| journal.take_missed()) {
            self.walking = Some(0);
        }
        let mut room = UNSETTLED_MAX.saturating_sub(self.registrar.unsettled()).min(TURN_MAX);
        let mut changed = std::mem::take(&mut self.changed);
        let mut more = room > 0 && self.changes.take(room, &mut changed);
        room -= changed.len().min(room);
        if let Some(from) = self.walking.filter(|_| !more && room > 0) {
            self.walking =
                self.own.directory.walk_changes(from, room.min(WALK_MAX), |entry| changed.push(entry));
            more |= self.walking.is_some();
        }
        let taken = changed.len();
        for entry in changed.drain(..) {
            let input = self.own.directory.take_change(entry, |change| match change {
                Change::Arrived { user, route } => Input::Arrived(self.own.arrived(user, route)),
                Change::Departed { user, route } => Input::Departed {
                    handle: route.handle,
                    user: user.into(),
                    device: self.own.device(route),
                    protocol: route.protocol,
                },
            });
            if let Some(input) = input {
                self.registrar.handle(now_ms, input, &self.own);
            }
        }
        self.changed = changed;
        (taken, more)
    }

    /// Does what the registrar wants done. Returns the later run of this node, if there is one.
    fn act(&mut self, now_ms: u64, submit: &mut dyn FnMut(u64, Request) -> Result<(), Full>) -> Option<u64> {
        let mut superseded = None;
        loop {
            let actions = self.registrar.take_actions();
            if actions.is_empty() {
                return superseded;
            }
            for action in actions {
                match action {
                    Action::Submit(id, request) => {
                        let operation = operation_of(&request);
                        if submit(id, request).is_ok() {
                            self.operations.insert(id, operation);
                        } else {
                            let full = Output::Answer { id, result: Err(Failure::Down), took_us: 0 };
                            self.registrar.handle(now_ms, Input::Store(full), &self.own);
                        }
                    }
                    Action::Close(handle, reason) => self.closing.push_back((handle, reason)),
                    Action::Tell { address, place, user } => {
                        let sender = self.sender.clone();
                        self.peering.displaced(
                            &address,
                            place,
                            &user,
                            Box::new(move |answered| {
                                // It has room: see `ToBridge::ROOM`. A bridge that is gone needs no answer.
                                let _ = sender.post(ToBridge::TOLD, ToBridge::Told { place, answered });
                            }),
                        );
                    }
                    Action::Found { ticket, found } => self.answer(now_ms, ticket, found),
                    Action::StepDown { incarnation } => superseded = Some(incarnation),
                }
            }
        }
    }

    fn answer(&mut self, now_ms: u64, ticket: u64, found: Answer) {
        let Some(Asking { user, asked_ms, answer }) = self.asking.remove(ticket) else { return };
        // Whoever asked may have left.
        let lives = |place: &Place| self.registrar.lives(place, now_ms);
        let _ = answer.send(self.registry.learn(&user, asked_ms, found, &lives));
    }

    fn close_displaced(&mut self) {
        while let Some(&(handle, reason)) = self.closing.front() {
            if self.own.router.displace(handle, reason).is_err() {
                return;
            }
            self.closing.pop_front();
        }
    }

    /// Shows others how things are.
    fn show(&mut self, now_ms: u64) {
        self.viewed_ms = now_ms;
        if self.refused.as_ref().is_some_and(|(at_ms, _)| now_ms >= at_ms + REFUSED_SHOWS_MS) {
            self.refused = None;
        }
        // Of itself it knows best, also while the registry is away.
        let own = self.registrar.lease();
        let others = self.registrar.nodes(now_ms).filter(|lease| lease.node != own.node);
        let nodes: Arc<[Lease]> = others.chain([own]).cloned().collect();
        let health = self.health();
        self.peering.set_nodes(&mut self.registrar.formats(now_ms));
        self.stats.fleet.set_registry(RegistryState {
            up: health == Health::Ready,
            nodes: nodes.len() as u64,
            unsettled: self.registrar.unsettled() as u64,
            healing: self.registrar.is_healing(),
            deferred: self.own.directory.journal().map_or(0, |journal| journal.deferred()),
            foreign: self.registrar.foreign,
        });
        self.stats.fleet.set_peers(self.peering.state());
        self.registry.set_view(View { nodes, health });
    }

    fn health(&self) -> Health {
        if !self.registrar.has_answered {
            return Health::Starting;
        }
        if let Some(master) = self.registrar.away().next() {
            let cause = self.causes.get(master).map_or("it does not answer", String::as_str);
            let name = if master.is_empty() { "no master is known" } else { master };
            return Health::Degraded(format!("{name}: {cause}"));
        }
        match &self.refused {
            Some((_, why)) => Health::Degraded(format!("it refuses: {why}")),
            None => Health::Ready,
        }
    }
}

fn operation_of(request: &Request) -> &'static str {
    match request {
        Request::Connect { .. } => "connect",
        Request::Disconnect { .. } => "disconnect",
        Request::Lookup { .. } => "lookup",
        Request::RenewLease { .. } | Request::RemoveLease { .. } | Request::Leases => "lease",
    }
}

/// The node's own connections, as the registrar sees them.
struct Connections {
    directory: Arc<Directory>,
    router: Arc<Router>,
    now_ms: u64,
}

/// Records looked at under one of the directory's locks.
const LOOK_MAX: usize = 512;

impl Connections {
    fn arrived(&self, user: &str, route: crate::directory::Route<'_>) -> Arrived {
        Arrived {
            handle: route.handle,
            user: user.into(),
            device: self.device(route),
            protocol: route.protocol,
            began_ms: route.began.millis(self.now_ms),
            ends_ms: route.ends_ms,
        }
    }

    fn device(&self, route: crate::directory::Route<'_>) -> Box<str> {
        match route.device {
            Some(device) => device.into(),
            None => self.router.connection_id(route.handle).to_string().into(),
        }
    }
}

impl Own for Connections {
    fn holds(&self, user: &str, handle: Handle) -> bool {
        self.directory.holds(user, handle)
    }

    fn arrived(&self, user: &str, handle: Handle) -> Option<Arrived> {
        let mut found = None;
        self.directory.lookup(user, |route| {
            if route.handle == handle {
                found = Some(self.arrived(user, route));
            }
        });
        found
    }

    fn holder(&self, user: &str, device: &str) -> Option<Arrived> {
        self.directory.lookup_device(user, device, None, |route| self.arrived(user, route))
    }

    fn walk(&self, from: u64, max: usize, visit: &mut dyn FnMut(Arrived)) -> Option<u64> {
        self.directory.walk(from, max.min(LOOK_MAX), |user, route| visit(self.arrived(user, route)))
    }
}
