//! One message on its way to a user's devices, until every outcome is in.
//!
//! Connections of this node are written to at once. Those of other nodes are asked of the registry meanwhile. What was gone
//! when the message came, and what could not be reached, is looked up once more: there may be a newer connection.

use super::{
    registry::{Answer, Elsewhere, Found, Lookup, Route},
    router::Router,
    store::Failure,
};
use crate::{
    kit::completion::Batch,
    model::{Handle, Message, Outcome},
};
use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker, ready},
};

/// Where a target is.
#[derive(Clone, Debug)]
enum At {
    Here(Handle),
    /// At another node: the route at this place of what was found.
    There(Arc<Found>, usize),
    /// Its record names another user: nowhere.
    Nowhere,
}

/// One connection that a message was posted to.
#[derive(Clone, Debug)]
struct Target {
    at: At,
    /// None: the device is called by its connection id.
    device: Option<Box<str>>,
}

impl Target {
    /// Whether it may be in another place by now. A node that did not answer may have done what it was asked to, but its
    /// connection is not the one that a fresh look would find.
    fn is_lost(&self, outcome: Outcome) -> bool {
        match self.at {
            At::Here(_) => outcome == Outcome::Stale,
            At::There(..) => matches!(outcome, Outcome::Stale | Outcome::Failed),
            At::Nowhere => false,
        }
    }

    fn route(&self) -> Option<&Route> {
        match &self.at {
            At::There(found, place) => found.routes.get(*place),
            At::Here(_) | At::Nowhere => None,
        }
    }
}

/// Deliveries that were posted together, and which targets the places of their batch stand for.
struct Round {
    batch: Arc<Batch<Outcome>>,
    targets: Vec<usize>,
}

/// How far it is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    First,
    /// What was gone was looked up once more.
    Again,
}

/// A future that is ready when every device has its outcome. Dropped early, it is still counted.
pub struct Push {
    inner: Option<Inner>,
}

struct Inner {
    router: Arc<Router>,
    user: Box<str>,
    message: Arc<Message>,
    /// See [`Router::push_quietly`].
    quietly: bool,
    /// The one device that is meant.
    device: Option<Box<str>>,
    targets: Vec<Target>,
    outcomes: Vec<Outcome>,
    rounds: Vec<Round>,
    lookup: Option<Lookup>,
    stage: Stage,
    /// Why there may be devices that were not found.
    unknown: Option<Failure>,
}

impl Push {
    pub(super) fn begin(
        router: Arc<Router>,
        user: &str,
        device: Option<&str>,
        message: Arc<Message>,
        quietly: bool,
    ) -> Self {
        let mut targets = Vec::new();
        router.visit(user, device, |route| {
            targets.push(Target { at: At::Here(route.handle), device: route.device.map(Into::into) });
        });
        let mut inner = Inner {
            outcomes: vec![Outcome::Failed; targets.len()],
            router,
            user: user.into(),
            message,
            quietly,
            device: device.map(Into::into),
            targets,
            rounds: Vec::new(),
            lookup: None,
            stage: Stage::First,
            unknown: None,
        };
        inner.post((0..inner.targets.len()).collect());
        // A device is in one place: where it is here, nobody else is asked.
        if device.is_none() || inner.targets.is_empty() {
            inner.ask(false);
        }
        Self { inner: Some(inner) }
    }

    /// Devices found so far.
    pub fn devices(&self) -> usize {
        self.inner.as_ref().map_or(0, |inner| inner.targets.len())
    }

    /// Ready when it is known which devices it goes to, and they have been sent it: the registry need not be waited for any
    /// more. To be polled for many pushes at once, so that none waits for another's answer.
    pub fn poll_found(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.inner.as_mut().map_or(Poll::Ready(()), |inner| inner.poll_found(cx))
    }

    /// Ready when every device that was found has its outcome, after one fresh look for those that were gone. What is done
    /// then is the caller's: [`Push::try_again`] or [`Push::finish`].
    pub fn poll_settled(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.inner.as_mut().map_or(Poll::Ready(()), |inner| inner.poll_settled(cx))
    }

    /// What keeps a message that is settled from having gone to everybody, and may be over soon.
    pub fn obstacle(&self) -> Option<Obstacle> {
        let inner = self.inner.as_ref()?;
        if inner.unknown.is_some() && inner.targets.is_empty() {
            Some(Obstacle::Registry)
        } else if inner.unreached().next().is_some() {
            Some(Obstacle::Node)
        } else {
            None
        }
    }

    /// Posts once more to the devices that could not be reached, and asks the registry where it was away. To be polled again.
    pub fn try_again(&mut self) {
        if let Some(inner) = &mut self.inner {
            inner.try_again();
        }
    }

    /// Counts the outcomes and gives them. What has none yet is counted when it has.
    pub fn finish(mut self) -> Delivered {
        if !self.is_settled() {
            return Delivered::default();
        }
        let inner = self.inner.take();
        inner.map(Inner::counted).unwrap_or_default()
    }

    /// Ends it without a count: another node is going to deliver the message, and count it.
    pub fn abandon(mut self) {
        self.inner = None;
    }

    /// Polls once without a caller to wake.
    fn is_settled(&mut self) -> bool {
        self.poll_settled(&mut Context::from_waker(Waker::noop())).is_ready()
    }

    /// Polls once without a caller to wake, and counts what is settled.
    pub(super) fn is_done(&mut self) -> bool {
        Pin::new(self).poll(&mut Context::from_waker(Waker::noop())).is_ready()
    }
}

/// See [`Push::obstacle`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Obstacle {
    /// The registry does not answer, and no device is known. Where one is, it is served, and the others count as unknown.
    Registry,
    /// A node, or a shard, could not take the message.
    Node,
}

impl Future for Push {
    type Output = Delivered;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Delivered> {
        ready!(self.poll_settled(cx));
        let delivered = self.inner.take().map(Inner::counted);
        Poll::Ready(delivered.unwrap_or_default())
    }
}

impl Drop for Push {
    fn drop(&mut self) {
        if let Some(inner) = self.inner.take() {
            let router = inner.router.clone();
            router.adopt(Push { inner: Some(inner) });
        }
    }
}

impl Inner {
    /// Takes the registry's answer, where one is waited for.
    fn poll_found(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(lookup) = &mut self.lookup {
            let answer = ready!(Pin::new(lookup).poll(cx));
            self.lookup = None;
            self.hear(answer);
        }
        Poll::Ready(())
    }

    fn poll_settled(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            ready!(self.poll_found(cx));
            while let Some(round) = self.rounds.last() {
                ready!(round.batch.poll_done(cx));
                self.collect();
            }
            if self.stage == Stage::Again {
                return Poll::Ready(());
            }
            self.stage = Stage::Again;
            self.look_again();
        }
    }

    /// The targets that no connection took the message for, although there is one.
    fn unreached(&self) -> impl Iterator<Item = usize> {
        let unreached = |at: &usize| {
            self.outcomes[*at] == Outcome::Failed && !matches!(self.targets[*at].at, At::Nowhere)
        };
        (0..self.targets.len()).filter(unreached)
    }

    fn try_again(&mut self) {
        self.stage = Stage::First;
        let unreached: Vec<usize> = self.unreached().collect();
        if self.unknown.take().is_some() {
            self.ask(true);
        }
        self.post(unreached);
    }

    /// Posts the message to some targets.
    fn post(&mut self, targets: Vec<usize>) {
        if targets.is_empty() {
            return;
        }
        let batch = Batch::new(targets.len());
        for (place, &target) in targets.iter().enumerate() {
            let ticket = batch.ticket(place);
            match &self.targets[target].at {
                At::Here(handle) => {
                    self.router.deliver(*handle, self.message.clone(), ticket, self.quietly);
                }
                At::There(found, at) => match found.routes.get(*at) {
                    Some(route) => {
                        self.router.deliver_elsewhere(route, &self.user, &self.message, ticket);
                    }
                    None => ticket.answer(Outcome::Failed),
                },
                At::Nowhere => ticket.answer(Outcome::Failed),
            }
        }
        self.rounds.push(Round { batch, targets });
    }

    /// Takes the outcomes of the last round, which is done.
    fn collect(&mut self) {
        let Some(Round { batch, targets }) = self.rounds.pop() else { return };
        for (place, target) in targets.into_iter().enumerate() {
            self.outcomes[target] = batch.answer(place).unwrap_or(Outcome::Failed);
        }
    }

    /// Asks where other nodes hold connections of the user.
    fn ask(&mut self, fresh: bool) {
        match self.router.registry().elsewhere(&self.user, fresh) {
            Elsewhere::Nowhere => {}
            // That a device was not among those of a moment ago proves nothing.
            Elsewhere::Known(found) if !fresh && self.lacks_device(&found) => self.ask(true),
            Elsewhere::Known(found) => self.hear(Ok(found)),
            Elsewhere::Asked(lookup) => self.lookup = Some(lookup),
        }
    }

    /// Whether one device is meant, and is not among what was found.
    fn lacks_device(&self, found: &Found) -> bool {
        let Some(wanted) = &self.device else { return false };
        let is_known = found.routes.iter().any(|route| route.device == *wanted);
        !is_known && !found.foreign.contains(wanted)
    }

    fn hear(&mut self, answer: Answer) {
        match (answer, self.stage) {
            (Ok(found), Stage::First) => self.add(&found),
            (Ok(found), Stage::Again) => self.redirect(&found),
            (Err(failure), Stage::First) => self.unknown = Some(failure),
            // It stays with what became of it at first.
            (Err(_), Stage::Again) => {}
        }
    }

    /// Posts to what was found elsewhere. A device that is here was written to already.
    fn add(&mut self, found: &Arc<Found>) {
        let held = self.targets.len();
        let is_new = |targets: &[Target], name: &str| {
            self.device.as_deref().is_none_or(|wanted| wanted == name)
                && !targets[..held].iter().any(|target| target.device.as_deref() == Some(name))
        };
        let mut targets = std::mem::take(&mut self.targets);
        for (at, route) in found.routes.iter().enumerate() {
            if is_new(&targets, &route.device) {
                let device = Some(route.device.clone());
                targets.push(Target { at: At::There(found.clone(), at), device });
            }
        }
        for name in &found.foreign {
            if is_new(&targets, name) {
                targets.push(Target { at: At::Nowhere, device: Some(name.clone()) });
            }
        }
        self.targets = targets;
        self.outcomes.resize(self.targets.len(), Outcome::Failed);
        if found.partial {
            self.unknown = Some(Failure::Down);
        }
        self.post((held..self.targets.len()).collect());
    }

    /// A connection that was gone may have come back, here or elsewhere: one fresh look for each that has a name.
    fn look_again(&mut self) {
        let mut here = Vec::new();
        let mut elsewhere = false;
        for (at, target) in self.targets.iter_mut().enumerate() {
            let lost = target.is_lost(self.outcomes[at]);
            let Some(device) = target.device.as_deref().filter(|_| lost) else { continue };
            match self.router.find(&self.user, device) {
                Some(found) if !matches!(target.at, At::Here(held) if held == found) => {
                    target.at = At::Here(found);
                    here.push(at);
                }
                _ => elsewhere = true,
            }
        }
        self.post(here);
        if elsewhere {
            self.ask(true);
        }
    }

    /// Posts once more to devices that a fresh look has found in another place, and to those it has found besides.
    fn redirect(&mut self, found: &Arc<Found>) {
        let mut moved = Vec::new();
        let under_way: Vec<usize> = self.rounds.iter().flat_map(|round| round.targets.clone()).collect();
        for (at, target) in self.targets.iter_mut().enumerate() {
            let lost = target.is_lost(self.outcomes[at]) && !under_way.contains(&at);
            let Some(device) = target.device.as_deref().filter(|_| lost) else { continue };
            let held = target.route().map(|route| route.place);
            let now = found
                .routes
                .iter()
                .position(|route| &*route.device == device && held.is_none_or(|held| held != route.place));
            match now {
                Some(place) => {
                    target.at = At::There(found.clone(), place);
                    moved.push(at);
                }
                // It has left in the meantime: its node was not reached since it is leaving too.
                None if !found.partial && !found.routes.iter().any(|route| &*route.device == device) => {
                    self.outcomes[at] = Outcome::Stale;
                }
                None => {}
            }
        }
        self.post(moved);
        // What was known before was wrong, so it may have lacked others too.
        if self.device.is_none() {
            self.add(found);
        }
    }

    fn count(&self) {
        let stats = self.router.stats();
        if self.outcomes.is_empty() {
            let nobody = if self.unknown.is_some() { Outcome::Failed } else { Outcome::Offline };
            stats.message(self.message.lane, nobody);
        }
        for &outcome in &self.outcomes {
            stats.message(self.message.lane, outcome);
        }
    }

    fn counted(self) -> Delivered {
        self.count();
        Delivered {
            router: Some(self.router),
            targets: self.targets,
            outcomes: self.outcomes,
            unknown: self.unknown,
        }
    }
}

/// Every outcome of one message; empty when no device was found.
#[derive(Default)]
pub struct Delivered {
    router: Option<Arc<Router>>,
    targets: Vec<Target>,
    outcomes: Vec<Outcome>,
    unknown: Option<Failure>,
}

impl Delivered {
    /// Whether no device was found.
    pub fn is_empty(&self) -> bool {
        self.outcomes.is_empty()
    }

    /// Why there may be devices that were not found: the registry could not be asked.
    pub fn unknown(&self) -> Option<&Failure> {
        self.unknown.as_ref()
    }

    /// The outcomes alone.
    pub fn outcomes(&self) -> &[Outcome] {
        &self.outcomes
    }

    /// Each device's name, its outcome, and the route to it, where it is at another node.
    pub fn visit(&self, mut visit: impl FnMut(&str, Outcome, Option<&Route>)) {
        for (target, &outcome) in self.targets.iter().zip(&self.outcomes) {
            let route = target.route();
            match (&target.device, &target.at, &self.router) {
                (Some(device), ..) => visit(device, outcome, route),
                (None, At::Here(handle), Some(router)) => {
                    visit(&router.connection_id(*handle).to_string(), outcome, route);
                }
                (None, ..) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests;
