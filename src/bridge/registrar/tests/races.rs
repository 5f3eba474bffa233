//! The races of a few devices, in whatever order a script brings them: connect, reconnect elsewhere, late disconnect, a request
//! carried out late or twice, a lost reply, retry, expiry, the restart of a node. Afterwards the registry is who is there, as a
//! list knows that nothing can confuse.

use super::node::{Conn, Table, arrived, handle_of};
use crate::{
    bridge::{
        registrar::{Action, Input, Registrar, Settings},
        registry::Lease,
        store::{Failure, Output, Place, Reply, Request, node_number},
    },
    model::Reason,
    sim::redis::Redis,
};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

const NODES: usize = 3;
const DEVICES: usize = 2;
const USER: &str = "ann";
/// Within this the store answers.
const TIMEOUT_MS: u64 = 2_000;
/// A connection does not live longer; its record does a little.
const LIFE_MS: u64 = 3_590_000;

/// Numbers say which of those that there are, modulo how many there are.
#[derive(Clone, Debug)]
enum Step {
    Connect {
        node: usize,
        device: usize,
    },
    Leave {
        node: usize,
        which: usize,
    },
    CarryOut(usize),
    Answer(usize),
    /// The reply is lost, or the request was.
    Lose(usize),
    /// The oldest displaced connection is told of, or that is lost.
    Tell {
        heard: bool,
    },
    Wait {
        ms: u64,
    },
    Restart(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let wait = prop_oneof![Just(1), Just(100), Just(1_000), Just(6_000), Just(20_000), Just(3_600_000)];
    prop_oneof![
        6 => (0..NODES, 0..DEVICES).prop_map(|(node, device)| Step::Connect { node, device }),
        4 => (0..NODES, 0..4usize).prop_map(|(node, which)| Step::Leave { node, which }),
        8 => (0..8usize).prop_map(Step::CarryOut),
        6 => (0..8usize).prop_map(Step::Answer),
        2 => (0..8usize).prop_map(Step::Lose),
        2 => any::<bool>().prop_map(|heard| Step::Tell { heard }),
        4 => wait.prop_map(|ms| Step::Wait { ms }),
        1 => (0..NODES).prop_map(Step::Restart),
    ]
}

struct Flight {
    node: usize,
    run: u64,
    id: u64,
    request: Request,
    sent_ms: u64,
    reply: Option<Reply>,
}

struct Node {
    registrar: Registrar,
    run: u64,
    conns: BTreeMap<(u32, u32), Conn>,
    next: u32,
}

struct World {
    now_ms: u64,
    redis: Redis,
    nodes: Vec<Node>,
    flights: Vec<Flight>,
    tells: Vec<(usize, Place)>,
    /// When each connection of a device began.
    began: Vec<(String, u64)>,
    restarts: usize,
    /// Replies that were lost after their request had been carried out: nobody heard what it did.
    lost: usize,
}

/// When a connection began, its node, and its key.
type There = (u64, usize, (u32, u32));

fn name_of(node: usize) -> String {
    format!("n{node}")
}

impl World {
    fn new() -> Self {
        let mut world = Self {
            now_ms: 10_000_000,
            redis: Redis::default(),
            nodes: Vec::new(),
            flights: Vec::new(),
            tells: Vec::new(),
            began: Vec::new(),
            restarts: 0,
            lost: 0,
        };
        for at in 0..NODES {
            let node = world.start(at);
            world.nodes.push(node);
        }
        world.run_all();
        world
    }

    fn start(&self, at: usize) -> Node {
        let lease = Lease {
            node: name_of(at),
            address: name_of(at),
            region: String::new(),
            incarnation: self.now_ms,
            capacity: 10,
            connections: 0,
            draining: false,
            version: "1".into(),
            lanes: Default::default(),
        };
        let settings = Settings { window: 4, ..Settings::default() };
        let registrar = Registrar::new(settings, node_number(&name_of(at)), lease, 1, self.now_ms);
        Node { registrar, run: self.now_ms, conns: BTreeMap::new(), next: 0 }
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Connect { node, device } => self.connect(node, format!("d{device}")),
            Step::Leave { node, which } => {
                let conns = &self.nodes[node].conns;
                if let Some(&key) = conns.keys().nth(which % conns.len().max(1)) {
                    self.leave(node, key);
                }
            }
            Step::CarryOut(which) => self.carry_out(which),
            Step::Answer(which) => {
                let carried = |flight: &Flight| flight.reply.is_some();
                let carried: Vec<usize> =
                    (0..self.flights.len()).filter(|&at| carried(&self.flights[at])).collect();
                if let Some(&at) = carried.get(which % carried.len().max(1)) {
                    self.answer(at, false);
                }
            }
            Step::Lose(which) if !self.flights.is_empty() => self.answer(which % self.flights.len(), true),
            Step::Lose(_) => {}
            Step::Tell { heard } => self.tell(heard),
            Step::Wait { ms } => self.wait(ms),
            Step::Restart(at) => {
                self.now_ms += 1;
                self.restarts += 1;
                self.nodes[at] = self.start(at);
            }
        }
        self.run_all();
    }

    fn connect(&mut self, at: usize, device: String) {
        let older = self.nodes[at].conns.iter().find(|(_, conn)| conn.device == device).map(|(&key, _)| key);
        let conn = Conn { user: USER.into(), device, began_ms: self.now_ms };
        self.began.push((conn.device.clone(), conn.began_ms));
        let node = &mut self.nodes[at];
        node.next += 1;
        // Slots are given out in no order that says who is newer.
        let key = (node.next * 7 % 16, node.next);
        node.conns.insert(key, conn.clone());
        // Who comes is told first, as the directory does.
        if let Some(older) = older {
            node.conns.remove(&older);
        }
        self.handle(at, Input::Arrived(arrived(key, &conn)));
        if let Some(older) = older {
            self.depart(at, older, conn.device);
        }
    }

    fn leave(&mut self, at: usize, key: (u32, u32)) {
        if let Some(conn) = self.nodes[at].conns.remove(&key) {
            self.depart(at, key, conn.device);
        }
    }

    fn depart(&mut self, at: usize, key: (u32, u32), device: String) {
        let (handle, protocol) = (handle_of(key), crate::model::Protocol::Websocket);
        self.handle(at, Input::Departed { handle, user: USER.into(), device: device.into(), protocol });
    }

    fn handle(&mut self, at: usize, input: Input) {
        let node = &mut self.nodes[at];
        node.registrar.handle(self.now_ms, input, &Table(&node.conns));
    }

    /// Also what was carried out before: the store may ask again.
    fn carry_out(&mut self, which: usize) {
        let count = self.flights.len().max(1);
        let Some(flight) = self.flights.get_mut(which % count) else { return };
        let reply = self.redis.run(&flight.request, flight.sent_ms, self.now_ms);
        self.lost += usize::from(flight.reply.replace(reply).is_some());
    }

    fn answer(&mut self, which: usize, lost: bool) {
        let Flight { node, run, id, reply, .. } = self.flights.remove(which);
        self.lost += usize::from(lost && reply.is_some());
        let result = reply.filter(|_| !lost).ok_or(Failure::Timeout);
        if self.nodes[node].run == run {
            self.handle(node, Input::Store(Output::Answer { id, result, took_us: 0 }));
        }
    }

    /// As the router does it.
    fn displace(&mut self, to: usize, place: Place) {
        if place.incarnation == self.nodes[to].registrar.incarnation() {
            self.carry(to, Action::Close(place.connection, Reason::Displaced));
        }
    }

    fn tell(&mut self, heard: bool) {
        if self.tells.is_empty() {
            return;
        }
        let (from, place) = self.tells.remove(0);
        let to = (0..NODES).find(|&to| node_number(&name_of(to)) == place.node).expect("a node");
        if heard {
            self.displace(to, place);
        }
        self.handle(from, Input::Told { place, answered: heard });
    }

    fn wait(&mut self, ms: u64) {
        self.now_ms += ms;
        while let Some(late) =
            self.flights.iter().position(|flight| flight.sent_ms + TIMEOUT_MS <= self.now_ms)
        {
            self.answer(late, true);
        }
        for at in 0..NODES {
            let over = |conn: &Conn| conn.began_ms + LIFE_MS <= self.now_ms;
            let conns = self.nodes[at].conns.iter().filter(|(_, conn)| over(conn));
            for key in conns.map(|(&key, _)| key).collect::<Vec<_>>() {
                self.leave(at, key);
            }
        }
    }

    fn run_all(&mut self) {
        (0..NODES).for_each(|at| self.run_node(at));
    }

    fn run_node(&mut self, at: usize) {
        loop {
            let node = &mut self.nodes[at];
            node.registrar.advance(self.now_ms, &Table(&node.conns));
            let actions = node.registrar.take_actions();
            if actions.is_empty() {
                return;
            }
            actions.into_iter().for_each(|action| self.carry(at, action));
        }
    }

    fn carry(&mut self, at: usize, action: Action) {
        let (run, now_ms) = (self.nodes[at].run, self.now_ms);
        match action {
            // What is not about a device is always answered at once.
            Action::Submit(id, request @ (Request::RenewLease { .. } | Request::Leases)) => {
                let result = Ok(self.redis.run(&request, now_ms, now_ms));
                self.handle(at, Input::Store(Output::Answer { id, result, took_us: 0 }));
            }
            Action::Submit(id, request) => {
                self.flights.push(Flight { node: at, run, id, request, sent_ms: now_ms, reply: None });
            }
            Action::Close(handle, _) => {
                let key = (handle.key.index, handle.key.generation);
                let Some(conn) = self.nodes[at].conns.get(&key) else { return };
                let of_device = self.began.iter().filter(|(device, _)| *device == conn.device);
                let as_new = of_device.filter(|(_, began_ms)| *began_ms >= conn.began_ms).count();
                assert!(as_new > 1, "the newest connection of {conn:?} is displaced");
                self.leave(at, key);
            }
            Action::Tell { place, .. } => self.tells.push((at, place)),
            Action::Found { .. } => {}
            Action::StepDown { .. } => panic!("no two runs of one node are alive"),
        }
    }

    /// Nothing goes wrong any more, and somebody asks for the user everywhere.
    fn settle(&mut self) {
        for round in 0..400 {
            if round == 300 {
                for at in 0..NODES {
                    self.handle(at, Input::Lookup { ticket: 1, user: USER.into(), fresh: true });
                }
            }
            while !self.flights.is_empty() {
                self.carry_out(0);
                self.answer(0, false);
                self.run_all();
            }
            while !self.tells.is_empty() {
                self.tell(true);
                self.run_all();
            }
            self.now_ms += 100;
            self.run_all();
        }
    }

    fn check(&self) {
        let mut there: BTreeMap<&str, Vec<There>> = BTreeMap::new();
        for (at, node) in self.nodes.iter().enumerate() {
            assert_eq!((node.registrar.unsettled(), node.registrar.is_healing()), (0, false));
            for (&key, conn) in &node.conns {
                there.entry(&conn.device).or_default().push((conn.began_ms, at, key));
            }
        }
        let mut known = BTreeSet::new();
        for (device, (record, _)) in self.redis.users.get(USER).into_iter().flatten() {
            let at = (0..NODES).find(|&at| node_number(&name_of(at)) == record.place.node).expect("a node");
            let key = record.place.connection.key;
            if self.nodes[at].run == record.place.incarnation && record.expires_ms > self.now_ms {
                known.insert(device.as_str());
                let conns = there.get(device.as_str()).map_or(&[][..], Vec::as_slice);
                let newest_ms = conns.iter().map(|&(began_ms, ..)| began_ms).max();
                let held = conns.iter().find(|one| (one.1, one.2) == (at, (key.index, key.generation)));
                assert!(held.is_some(), "{device} is known at n{at}, and there is {conns:?}");
                assert_eq!(held.map(|one| one.0), newest_ms, "the newest holds {device}: {conns:?}");
            }
        }
        // Of a displaced connection nobody hears when its displacer's node ends first, or two replies are lost in a row.
        let mut forgotten = 0;
        for (&device, conns) in &there {
            // One that began in the same ms may be the newer.
            let of_device = self.began.iter().filter(|(of, _)| of == device);
            let since = |&(began_ms, ..): &There| {
                of_device.clone().filter(|(_, other_ms)| *other_ms >= began_ms).count()
            };
            let is_newest = conns.iter().any(|conn| since(conn) == 1);
            assert!(known.contains(device) || !is_newest, "{device} is not known: {conns:?}");
            forgotten += conns.len() - usize::from(known.contains(device));
        }
        assert!(self.restarts > 0 || forgotten <= self.lost / 2, "{forgotten} are forgotten: {there:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn whatever_the_order_the_registry_is_who_is_there(steps in prop::collection::vec(step(), 1..80)) {
        let mut world = World::new();
        for step in steps {
            world.take(step);
        }
        world.settle();
        world.check();
    }
}
