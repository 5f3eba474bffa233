//! What all threads of the store share: the map of masters, and the one way out.
//!
//! Owns the answers: whoever holds a [`Pending`] answers it or passes it on, and nobody else can. Takes locks only for
//! moments; they are taken in the order map, queue, flight, outlet.

use super::{
    Address, Settings,
    lane::Lane,
    line::Access,
    seam::{Counters, Event, Failure, Full, Output, Reply, Request, Slots},
    slots::{SLOTS, ranges},
};
use crate::clock::Clock;
use std::{
    collections::VecDeque,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

/// A request that has no answer yet.
#[derive(Debug)]
pub(super) struct Pending {
    pub id: u64,
    pub request: Request,
    pub slot: u16,
    pub submitted_us: u64,
    pub deadline_us: u64,
    /// By which its reply is recognised; another one each time it is sent.
    pub nonce: u64,
    /// How often it was asked again.
    pub again: u8,
    /// Whether a reply of it has been misattributed.
    pub misattributed: bool,
    /// Whether its slot is on its way to the master that gets it.
    pub asking: bool,
}

/// How often a request is asked again in all, for whatever reasons.
pub(super) const AGAIN_MAX: u8 = 4;

/// Who owns which slot.
pub(super) struct Map {
    /// Index into `lanes` for each slot, or [`NOBODY`].
    owners: Box<[u16]>,
    pub lanes: Vec<Arc<Lane>>,
}

const NOBODY: u16 = u16::MAX;

impl Map {
    fn empty() -> Self {
        Self { owners: vec![NOBODY; usize::from(SLOTS)].into(), lanes: Vec::new() }
    }

    pub(super) fn owner(&self, slot: u16) -> Option<&Arc<Lane>> {
        self.lanes.get(usize::from(*self.owners.get(usize::from(slot))?))
    }

    pub(super) fn slots_of(&self, lane: &Lane) -> Slots {
        let owned = |slot: &u16| self.owner(*slot).is_some_and(|owner| std::ptr::eq(&**owner, lane));
        ranges((0..SLOTS).filter(owned))
    }

    fn lane_at(&self, address: &Address) -> Option<&Arc<Lane>> {
        self.lanes.iter().find(|lane| lane.address == *address)
    }

    pub(super) fn is_whole(&self) -> bool {
        !self.owners.contains(&NOBODY)
    }
}

/// A thread's alarm clock.
#[derive(Default)]
pub(super) struct Bell {
    rung: Mutex<bool>,
    wake: Condvar,
}

impl Bell {
    pub(super) fn ring(&self) {
        *lock(&self.rung) = true;
        self.wake.notify_all();
    }

    /// Whether it rang within the time.
    pub(super) fn wait(&self, time: Duration) -> bool {
        let rung = lock(&self.rung);
        let (mut rung, _) =
            self.wake.wait_timeout_while(rung, time, |rung| !*rung).unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *rung)
    }
}

/// A lock whose holder never panics half way: what it guards is always whole.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Default)]
pub(super) struct Tallies {
    pub pipelines: AtomicU64,
    pub sent: AtomicU64,
    pub again: AtomicU64,
    pub misattributed: AtomicU64,
    pub timeouts: AtomicU64,
    pub redirected: AtomicU64,
    pub connections: AtomicU64,
    pub unmarked: AtomicU64,
    pub maps: AtomicU64,
}

impl Tallies {
    pub(super) fn counters(&self) -> Counters {
        Counters {
            pipelines: self.pipelines.load(Relaxed),
            sent: self.sent.load(Relaxed),
            again: self.again.load(Relaxed),
            misattributed: self.misattributed.load(Relaxed),
            timeouts: self.timeouts.load(Relaxed),
            redirected: self.redirected.load(Relaxed),
            connections: self.connections.load(Relaxed),
            unmarked: self.unmarked.load(Relaxed),
            maps: self.maps.load(Relaxed),
        }
    }
}

type Outlet = Box<dyn Fn(Output) + Send>;

/// See the module.
pub(super) struct Fleet {
    pub clock: Clock,
    pub access: Access,
    pub timeout: Duration,
    queue_max: usize,
    map: RwLock<Arc<Map>>,
    /// Requests without a master to go to; the keeper answers them.
    strays: Mutex<VecDeque<Pending>>,
    outlet: Mutex<Option<Outlet>>,
    pub keeper: Bell,
    pub scout: Bell,
    ended: AtomicBool,
    nonce: AtomicU64,
    pub tallies: Tallies,
}

impl Fleet {
    pub(super) fn new(settings: &Settings, clock: Clock, outlet: Outlet) -> Self {
        let target = &settings.target;
        let access = Access {
            login: target.login.clone(),
            tls: target.tls,
            ca_file: settings.ca_file.clone(),
            database: target.database,
            // Two attempts have room in a request's time.
            timeout: settings.timeout / 2,
        };
        Self {
            clock,
            access,
            timeout: settings.timeout,
            queue_max: settings.queue_max,
            map: RwLock::new(Arc::new(Map::empty())),
            strays: Mutex::default(),
            outlet: Mutex::new(Some(outlet)),
            keeper: Bell::default(),
            scout: Bell::default(),
            ended: AtomicBool::new(false),
            nonce: AtomicU64::new(0),
            tallies: Tallies::default(),
        }
    }

    pub(super) fn submit(&self, id: u64, request: Request) -> Result<(), Full> {
        let now_us = self.clock.micros();
        let timeout_us = self.timeout.as_micros() as u64;
        let pending = Pending {
            id,
            slot: request.slot(),
            request,
            submitted_us: now_us,
            // The last twentieth is left for noticing and delivering.
            deadline_us: now_us + timeout_us - timeout_us / 20,
            nonce: 0,
            again: 0,
            misattributed: false,
            asking: false,
        };
        if pending.request.check().is_err() {
            return self.stray(pending);
        }
        let map = self.map();
        match map.owner(pending.slot) {
            Some(lane) => match lane.push(pending, self.queue_max)? {
                None => Ok(()),
                Some(pending) => self.stray(pending),
            },
            None => self.stray(pending),
        }
    }

    /// Has all lanes carry what was submitted. One that has left the map since was woken by that.
    pub(super) fn wake(&self) {
        self.map().lanes.iter().for_each(|lane| lane.wake());
    }

    /// Leaves a request to the keeper, so that no answer is delivered on the thread of who submits.
    fn stray(&self, pending: Pending) -> Result<(), Full> {
        let mut strays = lock(&self.strays);
        if strays.len() >= self.queue_max {
            return Err(Full);
        }
        strays.push_back(pending);
        drop(strays);
        self.keeper.ring();
        Ok(())
    }

    pub(super) fn take_strays(&self) -> VecDeque<Pending> {
        std::mem::take(&mut *lock(&self.strays))
    }

    pub(super) fn answer(&self, pending: Pending, result: Result<Reply, Failure>) {
        self.deliver([self.settle(pending, result)]);
    }

    /// The answer to a request, counted and not yet delivered.
    pub(super) fn settle(&self, pending: Pending, result: Result<Reply, Failure>) -> Output {
        if result == Err(Failure::Timeout) {
            self.tallies.timeouts.fetch_add(1, Relaxed);
        }
        let took_us = self.clock.micros().saturating_sub(pending.submitted_us);
        Output::Answer { id: pending.id, result, took_us }
    }

    pub(super) fn announce(&self, event: Event) {
        self.deliver([Output::Event(event)]);
    }

    pub(super) fn deliver(&self, outputs: impl IntoIterator<Item = Output>) {
        if let Some(outlet) = &*lock(&self.outlet) {
            outputs.into_iter().for_each(outlet);
        }
    }

    pub(super) fn next_nonce(&self) -> u64 {
        self.nonce.fetch_add(1, Relaxed)
    }

    pub(super) fn map(&self) -> Arc<Map> {
        self.map.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Passes a request on to the master that another one has named.
    pub(super) fn redirect(self: &Arc<Self>, mut pending: Pending, to: &Address, asking: bool) {
        self.tallies.redirected.fetch_add(1, Relaxed);
        pending.again += 1;
        pending.asking = asking;
        if pending.again > AGAIN_MAX {
            return self.answer(pending, Err(Failure::Down));
        }
        let known = self.map().lane_at(to).cloned();
        let lane = known.unwrap_or_else(|| self.lane_of_guest(to));
        if let Some(pending) = lane.push_first(pending) {
            self.answer(pending, Err(Failure::Down));
        }
    }

    /// A master that gets its first slot is in no map yet.
    fn lane_of_guest(self: &Arc<Self>, address: &Address) -> Arc<Lane> {
        let mut map = self.map.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(lane) = map.lane_at(address) {
            return lane.clone();
        }
        let lane = Arc::new(Lane::new(address.clone()));
        let mut lanes = map.lanes.clone();
        lanes.push(lane.clone());
        *map = Arc::new(Map { owners: map.owners.clone(), lanes });
        drop(map);
        lane.clone().start(self.clone());
        lane
    }

    /// Installs a map. `known` is who was last known to own each slot; what has another owner now is announced as lost.
    pub(super) fn install(
        self: &Arc<Self>,
        parts: &[(std::ops::RangeInclusive<u16>, Address)],
        known: &mut [Option<Address>],
    ) {
        let mut map = self.map.write().unwrap_or_else(PoisonError::into_inner);
        let old = map.clone();
        let mut new = Map::empty();
        let mut fresh = Vec::new();
        let mut gained: Vec<Vec<u16>> = Vec::new();
        for (slots, address) in parts {
            let at = new.lanes.iter().position(|lane| lane.address == *address).unwrap_or_else(|| {
                let lane =
                    old.lane_at(address).filter(|lane| !lane.has_retired()).cloned().unwrap_or_else(|| {
                        let lane = Arc::new(Lane::new(address.clone()));
                        fresh.push(lane.clone());
                        lane
                    });
                new.lanes.push(lane);
                gained.push(Vec::new());
                new.lanes.len() - 1
            });
            for slot in slots.clone() {
                new.owners[usize::from(slot)] = at as u16;
                let before = known[usize::from(slot)].replace(address.clone());
                if before.is_some_and(|before| before != *address) {
                    gained[at].push(slot);
                }
            }
        }
        let gains: Vec<_> = new.lanes.iter().cloned().zip(gained).collect();
        let is_kept = |lane: &Arc<Lane>| new.lane_at(&lane.address).is_some();
        let is_guest = |lane: &Arc<Lane>| old.slots_of(lane).is_empty() && lane.is_up();
        let (kept, gone): (Vec<_>, Vec<_>) =
            old.lanes.iter().filter(|lane| !is_kept(lane)).cloned().partition(|lane| is_guest(lane));
        new.lanes.extend(kept);
        *map = Arc::new(new);
        drop(map);
        for lane in gone {
            lane.retire();
        }
        for (lane, slots) in gains {
            lane.gain(self, slots);
        }
        for lane in fresh {
            lane.start(self.clone());
        }
    }

    pub(super) fn has_ended(&self) -> bool {
        self.ended.load(Relaxed)
    }

    /// Nothing is delivered any more when this returns.
    pub(super) fn end(&self) {
        self.ended.store(true, Relaxed);
        *lock(&self.outlet) = None;
        for lane in &self.map().lanes {
            lane.retire();
        }
        self.keeper.ring();
        self.scout.ring();
    }
}
