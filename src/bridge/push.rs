//! One message on its way to a user's devices, until every outcome is in.
//!
//! Connections of this node are written to at once. Those of other nodes are asked of the registry meanwhile. What was gone
//! when the message came, and what could not be reached, is looked up once more: there may be a newer connection.

mod delivery;

pub use delivery::Delivery;

use super::{registry::Route, router::Router, store::Failure};
use crate::model::{Message, Outcome};
use bytes::Bytes;
use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker, ready},
};

/// A future that is ready when every device has its outcome. Dropped early, it is still counted.
pub struct Push {
    delivery: Option<Delivery>,
}

impl Push {
    pub(super) fn begin(
        router: Arc<Router>,
        user: &str,
        device: Option<&str>,
        message: Arc<Message>,
    ) -> Self {
        let (user, device) = (Bytes::copy_from_slice(user.as_bytes()), device.map(Into::into));
        let mut delivery = Delivery::polled(router, user, device, message);
        delivery.begin();
        Self { delivery: Some(delivery) }
    }

    /// Ready when it is known which devices it goes to, and they have been sent it: the registry need not be waited for any
    /// more. To be polled for many pushes at once, so that none waits for another's answer.
    pub fn poll_found(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.delivery.as_mut().map_or(Poll::Ready(()), |delivery| delivery.poll_found(cx))
    }

    /// Polls once without a caller to wake, and counts what is settled.
    pub(super) fn is_done(&mut self) -> bool {
        Pin::new(self).poll(&mut Context::from_waker(Waker::noop())).is_ready()
    }
}

/// See [`Delivery::obstacle`].
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
        if let Some(delivery) = &mut self.delivery {
            ready!(delivery.poll_settled(cx));
            delivery.count();
        }
        Poll::Ready(Delivered { delivery: self.delivery.take() })
    }
}

impl Drop for Push {
    fn drop(&mut self) {
        if let Some(delivery) = self.delivery.take() {
            let router = delivery.router().clone();
            router.adopt(Push { delivery: Some(delivery) });
        }
    }
}

/// Every outcome of one message; empty when no device was found.
#[derive(Default)]
pub struct Delivered {
    delivery: Option<Delivery>,
}

impl Delivered {
    /// Whether no device was found.
    pub fn is_empty(&self) -> bool {
        self.delivery.as_ref().is_none_or(Delivery::is_empty)
    }

    /// Why there may be devices that were not found: the registry could not be asked.
    pub fn unknown(&self) -> Option<&Failure> {
        self.delivery.as_ref()?.unknown()
    }

    /// The outcomes alone.
    pub fn outcomes(&self) -> impl Iterator<Item = Outcome> + Clone {
        self.delivery.iter().flat_map(Delivery::outcomes)
    }

    /// Each device's name, its outcome, and the route to it, where it is at another node.
    pub fn visit(&self, visit: impl FnMut(&str, Outcome, Option<&Route>)) {
        if let Some(delivery) = &self.delivery {
            delivery.visit(visit);
        }
    }
}

#[cfg(test)]
mod tests;
