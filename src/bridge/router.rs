//! From a user's name to the mailboxes of the shards that hold the user's connections.
//!
//! Owns no connection and waits for nothing: what finds no room in a mailbox is answered at once.

use super::{
    push::{Push, Target},
    registry::Registry,
};
use crate::{
    kit::{completion::Batch, completion::Ticket, mailbox::Full, mailbox::Sender},
    model::{ConnectionId, Handle, Message, Outcome, Protocol, Reason, mail},
    stats::NodeStats,
};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// One device of a user, as `GET /v1/users/{user}/devices` shows it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Device {
    /// Its name, or its connection id.
    pub device: String,
    /// What it speaks.
    pub protocol: Protocol,
    /// Seconds since 1970.
    pub connected_unix_s: u32,
    /// When its bounded life ends, seconds since 1970.
    pub expires_unix_s: u32,
}

/// Routes messages within a node.
pub struct Router {
    registry: Arc<dyn Registry>,
    shards: Vec<Sender<mail::ToShard>>,
    stats: Arc<NodeStats>,
    /// Tells connection ids of this run from all others.
    node: u64,
    /// Pushes whose caller left before their outcomes came: they are counted all the same.
    orphans: Mutex<Vec<Push>>,
    /// See [`Router::wake_by`].
    wake_hook: OnceLock<Box<dyn Fn() + Send + Sync>>,
}

impl Router {
    /// A router over the mailboxes of all shards, in their order.
    pub fn new(
        registry: Arc<dyn Registry>,
        shards: Vec<Sender<mail::ToShard>>,
        stats: Arc<NodeStats>,
        node: u64,
    ) -> Self {
        Self { registry, shards, stats, node, orphans: Mutex::default(), wake_hook: OnceLock::new() }
    }

    /// Posts a message to every device of a user, or to one. The outcomes come with the returned [`Push`].
    pub fn push(self: &Arc<Self>, user: &str, device: Option<&str>, message: Arc<Message>) -> Push {
        let targets = self.targets(user, device);
        let batch = Batch::new(targets.len());
        for (place, target) in targets.iter().enumerate() {
            self.deliver(target.handle, message.clone(), batch.ticket(place));
        }
        Push::new(self.clone(), user, message, targets, batch)
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

    /// The devices of a user.
    pub fn devices(&self, user: &str) -> Vec<Device> {
        let mut devices = Vec::new();
        self.registry.lookup(user, &mut |route| {
            devices.push(Device {
                device: route
                    .device
                    .map_or_else(|| self.connection_id(route.handle).to_string(), str::to_owned),
                protocol: route.protocol,
                connected_unix_s: route.connected_unix_s,
                expires_unix_s: route.expires_unix_s,
            });
        });
        devices
    }

    /// Whether a user has any connection.
    pub fn is_connected(&self, user: &str) -> bool {
        let mut any = false;
        self.registry.lookup(user, &mut |_| any = true);
        any
    }

    /// Asks a user's connections, or one device's, to leave, and closes them after the grace. Says how many.
    ///
    /// # Errors
    /// [`Full`] with the number asked before a mailbox had no room.
    pub fn disconnect(&self, user: &str, device: Option<&str>) -> Result<usize, Full<usize>> {
        let targets = self.targets(user, device);
        for (asked, target) in targets.iter().enumerate() {
            let letter =
                mail::ToShard::Close { key: target.handle.key, reason: Reason::Operator, goaway: true };
            self.post_control(target.handle.shard, letter).map_err(|_| Full(asked))?;
        }
        Ok(targets.len())
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
    }

    /// The node's registry.
    pub fn registry(&self) -> &dyn Registry {
        &*self.registry
    }

    pub(super) fn stats(&self) -> &NodeStats {
        &self.stats
    }

    /// The fleet-wide name of a connection of this node.
    pub fn connection_id(&self, handle: Handle) -> ConnectionId {
        ConnectionId { node: self.node, handle }
    }

    pub(super) fn deliver(&self, handle: Handle, message: Arc<Message>, ticket: Ticket<Outcome>) {
        let lane = mail::mailbox_lane(message.lane);
        let letter = mail::ToShard::Deliver { key: handle.key, message, ticket };
        let posted = match self.shards.get(usize::from(handle.shard)) {
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

    /// Posts a message that another node has for a connection of this one: to that connection, if it is found under the user, or
    /// else to the one that the user's device has here now. Says whether there was either; when not, the outcome is `stale`.
    /// It is not counted: the node where the message entered does that.
    pub fn deliver_to(
        &self,
        user: &str,
        device: &str,
        connection: Handle,
        message: Arc<Message>,
        ticket: Ticket<Outcome>,
    ) -> bool {
        let (mut found, mut moved) = (None, None);
        self.registry.lookup(user, &mut |route| {
            if route.handle == connection {
                found = Some(route.handle);
            } else if route.device == Some(device) && moved.is_none() {
                moved = Some(route.handle);
            }
        });
        match found.or(moved) {
            Some(handle) => self.deliver(handle, message, ticket),
            None => ticket.answer(Outcome::Stale),
        }
        found.or(moved).is_some()
    }

    /// Where a device's newest connection is now.
    pub(super) fn find(&self, user: &str, device: &str) -> Option<Handle> {
        self.targets(user, Some(device)).first().map(|target| target.handle)
    }

    pub(super) fn adopt(&self, push: Push) {
        self.orphans.lock().unwrap_or_else(PoisonError::into_inner).push(push);
    }

    fn targets(&self, user: &str, device: Option<&str>) -> Vec<Target> {
        // A device that gave no name is called by its connection id, whose text names its handle.
        let unnamed = device.and_then(|name| name.parse::<ConnectionId>().ok());
        let unnamed = unnamed.filter(|id| id.node == self.node).map(|id| id.handle);
        let mut targets = Vec::new();
        self.registry.lookup(user, &mut |route| {
            let wanted = match (device, route.device) {
                (None, _) => true,
                (Some(wanted), Some(name)) => wanted == name,
                (Some(_), None) => unnamed == Some(route.handle),
            };
            if wanted {
                targets.push(Target { handle: route.handle, device: route.device.map(Into::into) });
            }
        });
        targets
    }

    fn post_control(&self, shard: u16, letter: mail::ToShard) -> Result<(), Full<mail::ToShard>> {
        match self.shards.get(usize::from(shard)) {
            Some(shard) => mail::post_control(shard, letter),
            None => Err(Full(letter)),
        }
    }
}
