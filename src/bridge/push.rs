//! One message on its way to a user's devices, until every outcome is in.

use super::router::Router;
use crate::{
    kit::completion::Batch,
    model::{Handle, Message, Outcome},
};
use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

/// One connection that a message was posted to.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub handle: Handle,
    /// None: the device is called by its connection id.
    pub device: Option<Box<str>>,
}

/// A future that is ready when every device has its outcome. Dropped early, it is still counted.
pub struct Push {
    inner: Option<Inner>,
}

struct Inner {
    router: Arc<Router>,
    user: Box<str>,
    message: Arc<Message>,
    targets: Vec<Target>,
    outcomes: Vec<Outcome>,
    /// The delivery under way, and which targets its places stand for: all at first, then those looked up afresh.
    batch: Arc<Batch<Outcome>>,
    places: Option<Vec<usize>>,
}

impl Push {
    pub(super) fn new(
        router: Arc<Router>,
        user: &str,
        message: Arc<Message>,
        targets: Vec<Target>,
        batch: Arc<Batch<Outcome>>,
    ) -> Self {
        let outcomes = vec![Outcome::Failed; targets.len()];
        Self {
            inner: Some(Inner { router, user: user.into(), message, targets, outcomes, batch, places: None }),
        }
    }

    /// Devices found.
    pub fn devices(&self) -> usize {
        self.inner.as_ref().map_or(0, |inner| inner.targets.len())
    }

    /// Polls once without a caller to wake.
    pub(super) fn is_done(&mut self) -> bool {
        Pin::new(self).poll(&mut Context::from_waker(Waker::noop())).is_ready()
    }
}

impl Future for Push {
    type Output = Delivered;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Delivered> {
        let Some(inner) = &mut self.inner else { return Poll::Ready(Delivered::default()) };
        loop {
            std::task::ready!(inner.batch.poll_done(cx));
            inner.collect();
            if inner.places.is_some() || !inner.look_again() {
                break;
            }
        }
        inner.count();
        let delivered = self.inner.take().map(Inner::into_delivered);
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
    fn collect(&mut self) {
        for place in 0..self.batch.len() {
            let target = self.places.as_ref().map_or(place, |places| places[place]);
            self.outcomes[target] = self.batch.answer(place).unwrap_or(Outcome::Failed);
        }
    }

    /// A connection that was gone may have come back elsewhere: one fresh lookup for each. Says whether any had.
    fn look_again(&mut self) -> bool {
        let mut places = Vec::new();
        for (at, target) in self.targets.iter_mut().enumerate() {
            if self.outcomes[at] != Outcome::Stale {
                continue;
            }
            let Some(device) = &target.device else { continue };
            if let Some(found) = self.router.find(&self.user, device)
                && found != target.handle
            {
                target.handle = found;
                places.push(at);
            }
        }
        if places.is_empty() {
            return false;
        }
        self.batch = Batch::new(places.len());
        for (place, &at) in places.iter().enumerate() {
            self.router.deliver(self.targets[at].handle, self.message.clone(), self.batch.ticket(place));
        }
        self.places = Some(places);
        true
    }

    fn count(&self) {
        let stats = self.router.stats();
        if self.outcomes.is_empty() {
            stats.message(self.message.lane, Outcome::Offline);
        }
        for &outcome in &self.outcomes {
            stats.message(self.message.lane, outcome);
        }
    }

    fn into_delivered(self) -> Delivered {
        Delivered { router: Some(self.router), targets: self.targets, outcomes: self.outcomes }
    }
}

/// Every outcome of one message; empty when no device was found.
#[derive(Default)]
pub struct Delivered {
    router: Option<Arc<Router>>,
    targets: Vec<Target>,
    outcomes: Vec<Outcome>,
}

impl Delivered {
    /// Whether no device was found.
    pub fn is_empty(&self) -> bool {
        self.outcomes.is_empty()
    }

    /// The outcomes alone.
    pub fn outcomes(&self) -> &[Outcome] {
        &self.outcomes
    }

    /// Each device's name and outcome.
    pub fn visit(&self, mut visit: impl FnMut(&str, Outcome)) {
        for (target, &outcome) in self.targets.iter().zip(&self.outcomes) {
            match (&target.device, &self.router) {
                (Some(device), _) => visit(device, outcome),
                (None, Some(router)) => visit(&router.connection_id(target.handle).to_string(), outcome),
                (None, None) => {}
            }
        }
    }
}
