//! The links as the router and the bridge's core use them: by what the registry says of a connection.

use super::{Delivery, Peer, Peers};
use crate::{
    bridge::{registry::Route, router::Peering, store::Place},
    kit::completion::Ticket,
    model::{Message, Outcome},
    stats::PeersState,
};
use std::sync::{Arc, atomic::Ordering::Relaxed};

impl Peering for Peers {
    fn deliver(&self, route: &Route, user: &str, message: &Arc<Message>, ticket: Ticket<Outcome>) {
        let peer = Peer { node: route.place.node, address: route.address.clone() };
        let delivery = Delivery {
            place: route.place,
            user: user.into(),
            device: route.device.clone(),
            message: message.clone(),
        };
        Peers::deliver(self, &peer, delivery, ticket);
    }

    fn displaced(&self, address: &str, place: Place, user: &str, answered: Box<dyn FnOnce(bool) + Send>) {
        let peer = Peer { node: place.node, address: address.into() };
        Peers::displaced(self, &peer, place, user, answered);
    }

    fn set_nodes(&self, nodes: &mut dyn Iterator<Item = (&str, u8)>) {
        Peers::set_nodes(self, nodes);
    }

    fn state(&self) -> PeersState {
        let mut state = PeersState {
            answered: self.common.answered.load(Relaxed),
            failed: self.common.failed.load(Relaxed),
            ..PeersState::default()
        };
        for link in self.links() {
            state.up += u64::from(link.is_up);
            state.in_flight += link.in_flight as u64;
        }
        state
    }
}
