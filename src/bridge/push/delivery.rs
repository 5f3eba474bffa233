//! One message for a user's devices: whom it was posted to, what became of it, and whom to look for once more.
//!
//! Owns a message's targets and their outcomes. Waits for nothing: [`super::Push`] does for one message, the processor for many.

use super::{
    super::{
        registry::{Answer, Elsewhere, Found, Lookup, Route},
        router::Router,
        store::Failure,
    },
    Obstacle,
};
use crate::{
    kit::completion::{Batch, Returns, Ticket},
    model::{Handle, Message, Outcome},
};
use bytes::Bytes;
use smallvec::SmallVec;
use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
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
    /// None: it is under way.
    outcome: Option<Outcome>,
}

impl Target {
    fn new(at: At, device: Option<Box<str>>) -> Self {
        Self { at, device, outcome: None }
    }

    /// Whether it may be in another place by now. A node that did not answer may have done what it was asked to, but its
    /// connection is not the one that a fresh look would find.
    fn is_lost(&self) -> bool {
        match self.at {
            At::Here(_) => self.outcome == Some(Outcome::Stale),
            At::There(..) => matches!(self.outcome, Some(Outcome::Stale | Outcome::Failed)),
            At::Nowhere => false,
        }
    }

    /// Whether no connection took the message, although there is one.
    fn is_unreached(&self) -> bool {
        self.outcome == Some(Outcome::Failed) && !matches!(self.at, At::Nowhere)
    }

    fn route(&self) -> Option<&Route> {
        match &self.at {
            At::There(found, place) => found.routes.get(*place),
            At::Here(_) | At::Nowhere => None,
        }
    }
}

/// How outcomes come back.
enum Way {
    /// In rounds, to who polls this push.
    Polled(SmallVec<[Round; 1]>),
    /// To who takes in those of many pushes at once, each under the number of its target from this one on: see [`Delivery::hear`].
    Gathered { returns: Arc<Returns<Outcome>>, first: u64 },
}

/// Deliveries that were posted together, and which targets the places of their batch stand for.
struct Round {
    batch: Arc<Batch<Outcome>>,
    targets: Places,
}

/// Places of targets.
type Places = SmallVec<[usize; 2]>;

/// How far it is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    First,
    /// What was gone was looked up once more.
    Again,
}

/// See the module.
pub struct Delivery {
    router: Arc<Router>,
    /// A checked name.
    user: Bytes,
    message: Arc<Message>,
    /// The one device that is meant.
    device: Option<Box<str>>,
    targets: SmallVec<[Target; 1]>,
    way: Way,
    /// Targets without an outcome.
    under_way: usize,
    lookup: Option<Lookup>,
    /// Whether the registry's answer is waited for, here or by who has taken the lookup.
    asks: bool,
    stage: Stage,
    /// Why there may be devices that were not found.
    unknown: Option<Failure>,
}

impl Delivery {
    /// One to be polled. The user is a checked name, and `device` the only one that is meant.
    pub(super) fn polled(
        router: Arc<Router>,
        user: Bytes,
        device: Option<Box<str>>,
        message: Arc<Message>,
    ) -> Self {
        Self::new(router, user, device, message, Way::Polled(SmallVec::new()))
    }

    /// The same for who has many messages under way: see [`Router::push_gathered`].
    pub(in crate::bridge) fn gathered(
        router: Arc<Router>,
        user: Bytes,
        device: Option<Box<str>>,
        message: Arc<Message>,
        returns: Arc<Returns<Outcome>>,
        first: u64,
    ) -> Self {
        Self::new(router, user, device, message, Way::Gathered { returns, first })
    }

    fn new(
        router: Arc<Router>,
        user: Bytes,
        device: Option<Box<str>>,
        message: Arc<Message>,
        way: Way,
    ) -> Self {
        Self {
            router,
            user,
            message,
            device,
            targets: SmallVec::new(),
            way,
            under_way: 0,
            lookup: None,
            asks: false,
            stage: Stage::First,
            unknown: None,
        }
    }

    /// Posts to the devices that are here, and asks for others.
    pub fn begin(&mut self) {
        let (targets, device) = (&mut self.targets, self.device.as_deref());
        self.router.visit(name(&self.user), device, |route| {
            targets.push(Target::new(At::Here(route.handle), route.device.map(Into::into)));
        });
        self.post(0..self.targets.len());
        // A device is in one place: where it is here, nobody else is asked.
        if self.device.is_none() || self.targets.is_empty() {
            self.ask(false);
        }
    }

    /// Whom it is for.
    pub fn user(&self) -> &Bytes {
        &self.user
    }

    /// What it says.
    pub fn message(&self) -> &Message {
        &self.message
    }

    /// Takes in an outcome of one that is gathered, under the number with which it came back.
    pub fn hear(&mut self, number: u64, outcome: Outcome) {
        let Way::Gathered { first, .. } = self.way else { return };
        let at = number.checked_sub(first).and_then(|at| usize::try_from(at).ok());
        let target = at.and_then(|at| self.targets.get_mut(at)).filter(|target| target.outcome.is_none());
        if let Some(target) = target {
            target.outcome = Some(outcome);
            self.under_way -= 1;
        }
    }

    /// A question to the registry, whose answer is to be given to [`Self::answer`]. Each is given out once.
    pub fn take_lookup(&mut self) -> Option<Lookup> {
        self.lookup.take()
    }

    /// Goes on as far as it can without an outcome or an answer. Says whether there is nothing to wait for: every device that was
    /// found has its outcome, after one fresh look for those that were gone.
    pub fn is_settled(&mut self) -> bool {
        loop {
            if self.under_way > 0 || self.asks {
                return false;
            }
            if self.stage == Stage::Again {
                return true;
            }
            self.stage = Stage::Again;
            self.look_again();
        }
    }

    /// What keeps a message that is settled from having gone to everybody, and may be over soon.
    pub fn obstacle(&self) -> Option<Obstacle> {
        if self.unknown.is_some() && self.targets.is_empty() {
            Some(Obstacle::Registry)
        } else if self.targets.iter().any(Target::is_unreached) {
            Some(Obstacle::Node)
        } else {
            None
        }
    }

    /// Takes in the registry's answer.
    pub fn answer(&mut self, answer: Answer) {
        self.asks = false;
        match (answer, self.stage) {
            (Ok(found), Stage::First) => self.add(&found),
            (Ok(found), Stage::Again) => self.redirect(&found),
            (Err(failure), Stage::First) => self.unknown = Some(failure),
            // It stays with what became of it at first.
            (Err(_), Stage::Again) => {}
        }
    }

    /// Posts once more to the devices that could not be reached, and asks the registry where it was away.
    pub fn try_again(&mut self) {
        self.stage = Stage::First;
        let unreached = |at: &usize| self.targets[*at].is_unreached();
        let unreached: Places = (0..self.targets.len()).filter(unreached).collect();
        if self.unknown.take().is_some() {
            self.ask(true);
        }
        self.post(unreached);
    }

    /// Counts the outcomes of one that is settled.
    pub fn count(&self) {
        let stats = self.router.stats();
        if self.is_empty() {
            let nobody = if self.unknown.is_some() { Outcome::Failed } else { Outcome::Offline };
            stats.message(self.message.lane, nobody);
        }
        self.outcomes().for_each(|outcome| stats.message(self.message.lane, outcome));
    }

    /// Whether no device was found.
    pub fn is_empty(&self) -> bool {
        self.targets.is_empty()
    }

    /// Why there may be devices that were not found: the registry could not be asked.
    pub fn unknown(&self) -> Option<&Failure> {
        self.unknown.as_ref()
    }

    /// The outcomes alone.
    pub fn outcomes(&self) -> impl Iterator<Item = Outcome> + Clone {
        self.targets.iter().map(|target| target.outcome.unwrap_or(Outcome::Failed))
    }

    /// Each device's name, its outcome, and the route to it, where it is at another node.
    pub fn visit(&self, mut visit: impl FnMut(&str, Outcome, Option<&Route>)) {
        for (target, outcome) in self.targets.iter().zip(self.outcomes()) {
            match (&target.device, &target.at) {
                (Some(device), _) => visit(device, outcome, target.route()),
                (None, At::Here(handle)) => {
                    visit(&self.router.connection_id(*handle).to_string(), outcome, None);
                }
                (None, _) => {}
            }
        }
    }

    pub(super) fn router(&self) -> &Arc<Router> {
        &self.router
    }

    /// Takes the registry's answer, where one is waited for.
    pub(super) fn poll_found(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(lookup) = &mut self.lookup {
            let answer = ready!(Pin::new(lookup).poll(cx));
            self.lookup = None;
            self.answer(answer);
        }
        Poll::Ready(())
    }

    /// Ready when it is settled. For one that is polled.
    pub(super) fn poll_settled(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            ready!(self.poll_found(cx));
            while let Way::Polled(rounds) = &mut self.way
                && let Some(round) = rounds.last()
            {
                ready!(round.batch.poll_done(cx));
                rounds.pop().into_iter().for_each(|round| self.collect(&round));
            }
            if self.is_settled() {
                return Poll::Ready(());
            }
        }
    }

    /// Posts the message to some targets.
    fn post(&mut self, targets: impl IntoIterator<Item = usize, IntoIter: ExactSizeIterator>) {
        let targets = targets.into_iter();
        if targets.len() == 0 {
            return;
        }
        self.under_way += targets.len();
        match &self.way {
            Way::Gathered { returns, first } => {
                for target in targets {
                    let ticket = returns.ticket(first + target as u64);
                    self.targets[target].outcome = None;
                    self.post_to(target, ticket, true);
                }
            }
            Way::Polled(_) => {
                let targets: Places = targets.collect();
                let batch = Batch::new(targets.len());
                for (place, &target) in targets.iter().enumerate() {
                    self.targets[target].outcome = None;
                    self.post_to(target, batch.ticket(place), false);
                }
                if let Way::Polled(rounds) = &mut self.way {
                    rounds.push(Round { batch, targets });
                }
            }
        }
    }

    fn post_to(&self, target: usize, ticket: Ticket<Outcome>, quietly: bool) {
        match &self.targets[target].at {
            At::Here(handle) => self.router.deliver(*handle, self.message.clone(), ticket, quietly),
            At::There(found, at) => match found.routes.get(*at) {
                Some(route) => {
                    self.router.deliver_elsewhere(route, name(&self.user), &self.message, ticket);
                }
                None => ticket.answer(Outcome::Failed),
            },
            At::Nowhere => ticket.answer(Outcome::Failed),
        }
    }

    /// Takes the outcomes of a round, which is done.
    fn collect(&mut self, round: &Round) {
        for (place, &target) in round.targets.iter().enumerate() {
            self.targets[target].outcome = Some(round.batch.answer(place).unwrap_or(Outcome::Failed));
        }
        self.under_way -= round.targets.len();
    }

    /// Asks where other nodes hold connections of the user.
    fn ask(&mut self, fresh: bool) {
        match self.router.registry().elsewhere(name(&self.user), fresh) {
            Elsewhere::Nowhere => {}
            // That a device was not among those of a moment ago proves nothing.
            Elsewhere::Known(found) if !fresh && self.lacks_device(&found) => self.ask(true),
            Elsewhere::Known(found) => self.answer(Ok(found)),
            Elsewhere::Asked(lookup) => (self.lookup, self.asks) = (Some(lookup), true),
        }
    }

    /// Whether one device is meant, and is not among what was found.
    fn lacks_device(&self, found: &Found) -> bool {
        let Some(wanted) = &self.device else { return false };
        let is_known = found.routes.iter().any(|route| route.device == *wanted);
        !is_known && !found.foreign.contains(wanted)
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
                targets.push(Target::new(At::There(found.clone(), at), Some(route.device.clone())));
            }
        }
        for name in &found.foreign {
            if is_new(&targets, name) {
                targets.push(Target::new(At::Nowhere, Some(name.clone())));
            }
        }
        self.targets = targets;
        if found.partial {
            self.unknown = Some(Failure::Down);
        }
        self.post(held..self.targets.len());
    }

    /// A connection that was gone may have come back, here or elsewhere: one fresh look for each that has a name.
    fn look_again(&mut self) {
        let mut here = Places::new();
        let mut elsewhere = false;
        for (at, target) in self.targets.iter_mut().enumerate() {
            let lost = target.is_lost();
            let Some(device) = target.device.as_deref().filter(|_| lost) else { continue };
            match self.router.find(name(&self.user), device) {
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
        let mut moved = Places::new();
        for (at, target) in self.targets.iter_mut().enumerate() {
            let lost = target.is_lost();
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
                    target.outcome = Some(Outcome::Stale);
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
}

/// It was checked where it came in.
fn name(user: &Bytes) -> &str {
    let name = std::str::from_utf8(user);
    debug_assert!(name.is_ok());
    name.unwrap_or_default()
}
