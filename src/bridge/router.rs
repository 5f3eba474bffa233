//! From a user's name to the mailboxes of the shards that hold the user's connections, and to other nodes.
//!
//! Owns no connection and waits for nothing: what finds no room in a mailbox is answered at once.

use super::{
    push::{Delivery, Push},
    registry::{Elsewhere, Registry, Route},
    store::{Failure, Place},
};
use crate::{
    directory::{self, Directory},
    kit::{
        completion::{Returns, Ticket},
        mailbox::Full,
        mailbox::Sender,
        mutant::Mutant,
        time::Now,
    },
    model::{ConnectionId, Handle, Message, Outcome, Protocol, Reason, mail},
    stats::{NodeStats, PeersState},
};
use bytes::Bytes;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// How messages get to other nodes.
pub trait Peering: Send + Sync + 'static {
    /// Sends a message to a connection that another node holds. Never waits; the ticket is answered.
    fn deliver(&self, route: &Route, user: &str, message: &Arc<Message>, ticket: Ticket<Outcome>);

    /// Tells the node at an address that its connection has lost its device. `answered` hears once whether it has answered.
    fn displaced(&self, address: &str, place: Place, user: &str, answered: Box<dyn FnOnce(bool) + Send>);

    /// The addresses of the nodes that live, and the highest format that each reads. Others are forgotten.
    fn set_nodes(&self, nodes: &mut dyn Iterator<Item = (&str, u8)>);

    /// How the links are.
    fn state(&self) -> PeersState;
}

/// One device of a user, as `GET /v1/users/{user}/devices` shows it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Device {
    /// Its name, or its connection id.
    pub device: String,
    /// The node that holds it; None: this one.
    pub node: Option<Arc<str>>,
    /// What it speaks; None: what this release does not know.
    pub protocol: Option<Protocol>,
    /// Seconds since 1970.
    pub connected_unix_s: u32,
    /// When its bounded life ends, seconds since 1970.
    pub expires_unix_s: u32,
}

/// The devices of a user.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Devices {
    /// Those of this node first.
    pub devices: Vec<Device>,
    /// Why there may be others.
    pub unknown: Option<Failure>,
}

/// Routes messages within a node and to other nodes.
pub struct Router {
    directory: Arc<Directory>,
    registry: Arc<dyn Registry>,
    peering: Option<Arc<dyn Peering>>,
    shards: Vec<Sender<mail::ToShard>>,
    stats: Arc<NodeStats>,
    /// Tells connection ids of this run from all others.
    node: u64,
    /// See [`Parts::number`].
    number: u64,
    /// Pushes whose caller left before their outcomes came: they are counted all the same.
    orphans: Mutex<Vec<Push>>,
    /// See [`Router::wake_by`].
    wake_hook: OnceLock<Box<dyn Fn() + Send + Sync>>,
}

/// What a router is made of.
pub struct Parts {
    /// The node's own connections.
    pub directory: Arc<Directory>,
    /// Where the others are.
    pub registry: Arc<dyn Registry>,
    /// How they are reached; None: there are no others.
    pub peering: Option<Arc<dyn Peering>>,
    /// The mailboxes of all shards, in their order.
    pub shards: Vec<Sender<mail::ToShard>>,
    /// Where outcomes are counted.
    pub stats: Arc<NodeStats>,
    /// Tells connection ids of this run from all others.
    pub node: u64,
    /// This node's number, by which the registry and other nodes name its connections.
    pub number: u64,
}

impl Router {
    /// A router.
    pub fn new(parts: Parts) -> Self {
        let Parts { directory, registry, peering, shards, stats, node, number } = parts;
        let (orphans, wake_hook) = (Mutex::default(), OnceLock::new());
        Self { directory, registry, peering, shards, stats, node, number, orphans, wake_hook }
    }

    /// Posts a message to every device of a user, or to one. The outcomes come with the returned [`Push`].
    pub fn push(self: &Arc<Self>, user: &str, device: Option<&str>, message: Arc<Message>) -> Push {
        Push::begin(self.clone(), user, device, message)
    }

    /// The same, not begun yet, for a caller who has many messages under way: no shard is woken until [`Router::wake`], which
    /// ends the caller's turn, and outcomes come by `returns`, each under a number from `first` on. The user is a checked name.
    pub fn push_gathered(
        self: &Arc<Self>,
        user: Bytes,
        device: Option<Box<str>>,
        message: Arc<Message>,
        returns: &Arc<Returns<Outcome>>,
        first: u64,
    ) -> Delivery {
        Delivery::gathered(self.clone(), user, device, message, returns.clone(), first)
    }

    /// From now on shards are not woken by each message: `hook` is called instead, and sees to it that [`Router::wake`] is
    /// called soon, when the caller's other messages of the moment have been posted too. A wake costs a system call and, on a
    /// busy host, a context switch. Only the first hook counts.
    pub fn wake_by(&self, hook: impl Fn() + Send + Sync + 'static) {
        let _ = self.wake_hook.set(Box::new(hook));
    }

    /// Wakes every shard that has mail.
    pub fn wake(&self) {
        for shard in &self.shards {
            shard.wake();
        }
    }

    /// The devices of a user, those of this node first.
    pub async fn devices(&self, user: &str, now: Now) -> Devices {
        let mut devices = self.devices_here(user, now);
        let unknown = match self.elsewhere(user).await {
            Ok(routes) => {
                let held = devices.len();
                for route in &routes {
                    if !devices[..held].iter().any(|device| *device.device == *route.device) {
                        devices.push(Device {
                            device: route.device.to_string(),
                            node: Some(route.node.clone()),
                            protocol: route.protocol,
                            connected_unix_s: (route.connected_ms / 1_000) as u32,
                            expires_unix_s: (route.expires_ms / 1_000) as u32,
                        });
                    }
                }
                None
            }
            Err(failure) => Some(failure),
        };
        Devices { devices, unknown }
    }

    /// Whether a user has any connection; None: nobody can say.
    pub async fn is_connected(&self, user: &str) -> Option<bool> {
        let mut any = false;
        self.directory.lookup(user, |_| any = true);
        if any {
            return Some(true);
        }
        self.elsewhere(user).await.ok().map(|routes| !routes.is_empty())
    }

    /// Where other nodes hold connections of a user.
    ///
    /// # Errors
    /// When nobody can say.
    pub async fn elsewhere(&self, user: &str) -> Result<Vec<Route>, Failure> {
        match self.registry.elsewhere(user, false) {
            Elsewhere::Nowhere => Ok(Vec::new()),
            Elsewhere::Known(found) => Ok(found.routes.clone()),
            Elsewhere::Asked(lookup) => lookup.await.map(|found| found.routes.clone()),
        }
    }

    /// Asks a user's connections at this node, or one device's, to leave, and closes them after the grace. Says how many.
    ///
    /// # Errors
    /// [`Full`] with the number asked before a mailbox had no room.
    pub fn disconnect_here(&self, user: &str, device: Option<&str>) -> Result<usize, Full<usize>> {
        let mut handles = Vec::new();
        self.visit(user, device, |route| handles.push(route.handle));
        for (asked, handle) in handles.iter().enumerate() {
            let letter = mail::ToShard::Close { key: handle.key, reason: Reason::Operator, goaway: true };
            self.post_control(handle.shard, letter).map_err(|_| Full(asked))?;
        }
        Ok(handles.len())
    }

    /// Closes a connection of this node whose device is another's, elsewhere, at once and for that reason.
    ///
    /// # Errors
    /// [`Full`] when the shard's mailbox has no room.
    pub fn displace(&self, handle: Handle, reason: Reason) -> Result<(), Full<Handle>> {
        let letter = mail::ToShard::Close { key: handle.key, reason, goaway: false };
        self.post_control(handle.shard, letter).map_err(|_| Full(handle))
    }

    /// Posts the same letter about the whole node to every shard. There is room for it: see [`mail::CONTROL_RESERVE`].
    pub fn post_to_all(&self, letter: impl Fn() -> mail::ToShard) {
        for shard in &self.shards {
            let posted = shard.post(mail::CONTROL_LANE, letter());
            debug_assert!(posted.is_ok() || shard.is_closed());
        }
    }

    /// Shards of this node.
    pub fn shards(&self) -> usize {
        self.shards.len()
    }

    /// Counts what was answered of pushes whose caller has left. To be called about once a second.
    pub fn reap(&self) {
        let mut orphans = self.orphans.lock().unwrap_or_else(PoisonError::into_inner);
        let mut waiting = std::mem::take(&mut *orphans);
        drop(orphans);
        waiting.retain_mut(|push| !push.is_done());
        self.orphans.lock().unwrap_or_else(PoisonError::into_inner).append(&mut waiting);
        // A quiet one may have posted once more.
        self.wake();
    }

    /// The node's registry.
    pub fn registry(&self) -> &dyn Registry {
        &*self.registry
    }

    /// The fleet-wide name of a connection of this node.
    pub fn connection_id(&self, handle: Handle) -> ConnectionId {
        ConnectionId { node: self.node, handle }
    }

    pub(super) fn stats(&self) -> &NodeStats {
        &self.stats
    }

    pub(super) fn deliver(
        &self,
        handle: Handle,
        message: Arc<Message>,
        ticket: Ticket<Outcome>,
        quietly: bool,
    ) {
        let lane = mail::mailbox_lane(message.lane);
        let letter = mail::ToShard::Deliver { key: handle.key, message, ticket };
        let posted = match self.shards.get(usize::from(handle.shard)) {
            Some(shard) if quietly => shard.post_quietly(lane, letter),
            Some(shard) => match self.wake_hook.get() {
                Some(hook) => shard.post_quietly(lane, letter).inspect(|()| hook()),
                None => shard.post(lane, letter),
            },
            None => Err(Full(letter)),
        };
        if let Err(Full(mail::ToShard::Deliver { ticket, .. })) = posted {
            ticket.answer(Outcome::Failed);
        }
    }

    /// To a connection of another node.
    pub(super) fn deliver_elsewhere(
        &self,
        route: &Route,
        user: &str,
        message: &Arc<Message>,
        ticket: Ticket<Outcome>,
    ) {
        match &self.peering {
            Some(peering) => peering.deliver(route, user, message, ticket),
            None => ticket.answer(Outcome::Failed),
        }
    }

    /// Whether a place that another node names is of this run. What is not is no business of this node's: its connection is
    /// gone, and who is there by now must not hear of it.
    pub fn is_of_this_run(&self, place: Place) -> bool {
        (place.node, place.incarnation) == (self.number, self.registry.incarnation())
    }

    /// Posts a message that another node has for a connection of this one: to that connection, if it is found under the user, or
    /// else to the one that the user's device has here now. Where there is neither, or the place is of another run, the outcome
    /// is `stale`; in the first case the registry is told that the connection is lacking. It is not counted: the node where
    /// the message entered does that.
    pub fn deliver_of_peer(
        &self,
        place: Place,
        user: &str,
        device: &str,
        message: Arc<Message>,
        ticket: Ticket<Outcome>,
    ) {
        if !self.is_of_this_run(place) {
            return ticket.answer(Outcome::Stale);
        }
        let (mut found, mut moved) = (None, None);
        self.directory.lookup(user, |route| {
            if route.handle == place.connection {
                found = Some(route.handle);
            } else if route.device == Some(device) && moved.is_none() {
                moved = Some(route.handle);
            }
        });
        let unchecked = Mutant::UserOfPeerNotChecked.is_on().then_some(place.connection);
        match unchecked.or(found).or(moved) {
            Some(handle) => self.deliver(handle, message, ticket, false),
            None => {
                ticket.answer(Outcome::Stale);
                self.registry.forget(user, device, place);
            }
        }
    }

    /// Closes a connection of this node, of which another node says that it has lost its device. One that is not found under
    /// the user has been closed already. Says whether that is done: where there is no room, the other node is to say it again.
    pub fn displace_for_peer(&self, place: Place, user: &str) -> bool {
        let held = self.is_of_this_run(place) && self.directory.holds(user, place.connection);
        !held || self.displace(place.connection, Reason::Displaced).is_ok()
    }

    /// Where a device's newest connection at this node is now.
    pub(super) fn find(&self, user: &str, device: &str) -> Option<Handle> {
        let mut found = None;
        self.visit(user, Some(device), |route| found = found.or(Some(route.handle)));
        found
    }

    pub(super) fn adopt(&self, push: Push) {
        self.orphans.lock().unwrap_or_else(PoisonError::into_inner).push(push);
    }

    /// Shows a user's connections at this node, or one device's.
    pub(super) fn visit(
        &self,
        user: &str,
        device: Option<&str>,
        mut visit: impl FnMut(directory::Route<'_>),
    ) {
        // A device that gave no name is called by its connection id, whose text names its handle.
        let unnamed = device.and_then(|name| name.parse::<ConnectionId>().ok());
        let unnamed = unnamed.filter(|id| id.node == self.node).map(|id| id.handle);
        self.directory.lookup(user, |route| {
            let wanted = match (device, route.device) {
                (None, _) => true,
                (Some(wanted), Some(name)) => wanted == name,
                (Some(_), None) => unnamed == Some(route.handle),
            };
            if wanted {
                visit(route);
            }
        });
    }

    /// Shows when connections of this node began and when the lives of their records end, from a place on, looking at no
    /// more than `max` records: see [`Directory::walk_times`].
    pub fn walk_times(&self, from: u64, max: usize, visit: impl FnMut(directory::Began, u64)) -> Option<u64> {
        self.directory.walk_times(from, max, visit)
    }

    fn devices_here(&self, user: &str, now: Now) -> Vec<Device> {
        let mut devices = Vec::new();
        let unix_ms = |at_ms: u64| (now.unix_ms + at_ms).saturating_sub(now.millis());
        self.directory.lookup(user, |route| {
            let id = || self.connection_id(route.handle).to_string();
            devices.push(Device {
                device: route.device.map_or_else(id, str::to_owned),
                node: None,
                protocol: Some(route.protocol),
                connected_unix_s: (unix_ms(route.began.millis(now.millis())) / 1_000) as u32,
                expires_unix_s: (unix_ms(route.ends_ms) / 1_000) as u32,
            });
        });
        devices
    }

    fn post_control(&self, shard: u16, letter: mail::ToShard) -> Result<(), Full<mail::ToShard>> {
        match self.shards.get(usize::from(shard)) {
            Some(shard) => mail::post_control(shard, letter),
            None => Err(Full(letter)),
        }
    }
}
