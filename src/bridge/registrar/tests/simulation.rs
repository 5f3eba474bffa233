//! Several nodes' registrars on a registry that delays, loses, forgets and fails over; nodes that pause, die and come back.
//! Everything follows from a seed.

use super::node::{Conn, Node, Table, arrived};
use crate::{
    bridge::{
        registrar::{Action, Input, Registrar, Settings},
        registry::{Answer, Lease},
        store::{Event, Failure, Output, Place, Record, Reply, Request, node_number},
    },
    kit::random::Random,
    model::Reason,
    sim::redis::Redis,
};
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    panic,
};

const NODES: usize = 4;
const USERS: u64 = 12;
const TIMEOUT_MS: u64 = 2_000;
/// A master's failover loses what was written within this.
const LOST_MS: u64 = 1_000;
/// How often the store looks at a master's mark.
const LOOK_EVERY_MS: u64 = 1_000;

/// User, device, number of the node, connection.
type There = (String, String, usize, (u32, u32));

/// A request, or its answer, on its way.
struct Flight {
    node: usize,
    incarnation: u64,
    id: u64,
    request: Request,
    sent_ms: u64,
    runs_at_ms: u64,
    /// None: the answer is lost.
    answer_at_ms: Option<u64>,
    reply: Option<Reply>,
    has_run: bool,
}

struct World {
    random: Random,
    now_ms: u64,
    nodes: Vec<Node>,
    redis: Redis,
    /// What a failover falls back to.
    past: VecDeque<(u64, Redis)>,
    failovers: u64,
    redis_is_up: bool,
    flights: Vec<Flight>,
    tells: Vec<(u64, usize, String, Place)>,
    /// The newest connection that a device ever had.
    newest: BTreeMap<(String, String), u64>,
    /// Lookups that have no answer yet: number of the node, ticket.
    open: BTreeSet<(usize, u64)>,
    next_ticket: u64,
    faults: bool,
    /// In every other world: where nobody dies, hardly anybody may be forgotten.
    nodes_die: bool,
    closes: u64,
    routed: u64,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut world = Self {
            random: Random::seeded(seed),
            now_ms: 1_000_000,
            nodes: Vec::new(),
            redis: Redis::default(),
            past: VecDeque::new(),
            failovers: 0,
            redis_is_up: true,
            flights: Vec::new(),
            tells: Vec::new(),
            newest: BTreeMap::new(),
            open: BTreeSet::new(),
            next_ticket: 0,
            faults: true,
            nodes_die: seed.is_multiple_of(2),
            closes: 0,
            routed: 0,
        };
        for at in 0..NODES {
            let node = world.start(format!("n{at}"));
            world.nodes.push(node);
            world.look(at);
        }
        world
    }

    fn start(&self, name: String) -> Node {
        let lease = Lease {
            node: name.clone(),
            address: name.clone(),
            region: String::new(),
            incarnation: self.now_ms,
            capacity: 100,
            connections: 0,
            draining: false,
            version: "1".into(),
            lanes: Default::default(),
        };
        let settings = Settings { heal_rate: 100, window: 8, ..Settings::default() };
        Node {
            registrar: Registrar::new(settings, node_number(&name), lease, 1, self.now_ms),
            incarnation: self.now_ms,
            name,
            conns: BTreeMap::new(),
            next_slot: 0,
            paused_until_ms: 0,
            dead_since_ms: None,
            cut_off: false,
            seen: None,
            looked_ms: 0,
            inbox: VecDeque::new(),
        }
    }

    fn step(&mut self) {
        self.now_ms += 1 + self.random.below(40);
        if self.faults {
            self.act();
        }
        self.move_flights();
        self.move_tells();
        for at in 0..NODES {
            self.run_node(at);
        }
        self.past.push_back((self.now_ms, self.redis.clone()));
        while self.past.front().is_some_and(|(at_ms, _)| at_ms + LOST_MS < self.now_ms) {
            self.past.pop_front();
        }
    }

    fn act(&mut self) {
        let at = self.random.below(NODES as u64) as usize;
        match self.random.below(400) {
            0..100 => self.connect(at),
            100..140 => self.disconnect(at),
            140..200 => self.look_up(at),
            200 => self.nodes[at].paused_until_ms = self.now_ms + self.random.below(20_000),
            201 if self.nodes_die => self.kill(at),
            202 => self.revive(at),
            203 => self.set_redis(false),
            204..208 => self.set_redis(true),
            208 => {
                // Nobody says so.
                let with_leases = self.random.below(2) == 0;
                self.redis.forget(with_leases);
            }
            209 => self.fail_over(),
            210 => self.cut_off(at, true),
            211..214 => self.cut_off(at, false),
            _ => {}
        }
    }

    fn is_up(&self, at: usize) -> bool {
        self.nodes[at].dead_since_ms.is_none() && self.nodes[at].paused_until_ms <= self.now_ms
    }

    fn connect(&mut self, at: usize) {
        if !self.is_up(at) {
            return;
        }
        let user = format!("u{}", self.random.below(USERS));
        let device = format!("d{}", self.random.below(2));
        let began_ms = self.now_ms;
        let conn = Conn { user: user.clone(), device: device.clone(), began_ms };
        let node = &mut self.nodes[at];
        let older = node.conns.iter().find(|(_, held)| held.user == user && held.device == device);
        if let Some((&key, _)) = older {
            node.leave(key);
        }
        node.next_slot += 1;
        let key = (node.next_slot, 1);
        node.inbox.push_back(Input::Arrived(arrived(key, &conn)));
        node.conns.insert(key, conn);
        self.newest.insert((user, device), began_ms);
    }

    fn disconnect(&mut self, at: usize) {
        let which = self.random.below(self.nodes[at].conns.len() as u64) as usize;
        let key = self.nodes[at].conns.keys().nth(which).copied();
        if let Some(key) = key.filter(|_| self.is_up(at)) {
            self.nodes[at].leave(key);
        }
    }

    fn look_up(&mut self, at: usize) {
        let user = format!("u{}", self.random.below(USERS));
        let fresh = self.random.below(4) == 0;
        if self.is_up(at) {
            self.ask(at, user, fresh);
        }
    }

    fn ask(&mut self, at: usize, user: String, fresh: bool) {
        self.next_ticket += 1;
        let ticket = self.next_ticket;
        self.open.insert((at, ticket));
        self.nodes[at].inbox.push_back(Input::Lookup { ticket, user: user.into(), fresh });
    }

    /// Its clients go elsewhere by themselves.
    fn kill(&mut self, at: usize) {
        self.open.retain(|&(node, _)| node != at);
        let node = &mut self.nodes[at];
        node.dead_since_ms.get_or_insert(self.now_ms);
        node.conns.clear();
        node.inbox.clear();
    }

    fn revive(&mut self, at: usize) {
        if self.nodes[at].dead_since_ms.is_some() {
            self.nodes[at] = self.start(self.nodes[at].name.clone());
            self.announce(at);
        }
    }

    fn announce(&mut self, at: usize) {
        let reachable = self.redis_is_up && !self.nodes[at].cut_off;
        let (master, slots) = ("redis".to_owned(), vec![0..=16_383]);
        let event = match reachable {
            true => Event::Up { master, slots },
            false => Event::Down { master, slots, cause: String::new() },
        };
        self.nodes[at].inbox.push_back(Input::Store(Output::Event(event)));
        self.look(at);
    }

    fn set_redis(&mut self, up: bool) {
        if self.redis_is_up != up {
            self.redis_is_up = up;
            (0..NODES).for_each(|at| self.announce(at));
        }
    }

    fn cut_off(&mut self, at: usize, cut_off: bool) {
        if self.nodes[at].cut_off != cut_off {
            self.nodes[at].cut_off = cut_off;
            self.announce(at);
        }
    }

    fn fail_over(&mut self) {
        if let Some((_, past)) = self.past.front() {
            self.redis = past.clone();
            self.failovers += 1;
            (0..NODES).for_each(|at| self.look(at));
        }
    }

    /// What a node's store does when it has connected, before it carries anything, and then every second.
    fn look(&mut self, at: usize) {
        let node = &mut self.nodes[at];
        if self.redis_is_up && !node.cut_off {
            node.looked_ms = self.now_ms;
            let seen = (self.failovers, self.redis.mark);
            if node.seen.replace(seen).is_some_and(|before| before != seen) {
                let event = Event::Lost { master: "redis".into(), slots: vec![0..=16_383] };
                node.inbox.push_back(Input::Store(Output::Event(event)));
            }
        }
    }

    fn run_node(&mut self, at: usize) {
        if !self.is_up(at) {
            return;
        }
        let now_ms = self.now_ms;
        if self.nodes[at].looked_ms + LOOK_EVERY_MS <= now_ms {
            self.look(at);
        }
        let node = &mut self.nodes[at];
        let table = Table(&node.conns);
        while let Some(input) = node.inbox.pop_front() {
            node.registrar.handle(now_ms, input, &table);
        }
        node.registrar.advance(now_ms, &table);
        for action in node.registrar.take_actions() {
            self.carry_out(at, action);
        }
    }

    fn carry_out(&mut self, at: usize, action: Action) {
        match action {
            Action::Submit(id, request) => self.submit(at, id, request),
            Action::Close(handle, _) => {
                let key = (handle.key.index, handle.key.generation);
                let Some(conn) = self.nodes[at].conns.get(&key) else { return };
                let newest = self.newest[&(conn.user.clone(), conn.device.clone())];
                assert!(newest > conn.began_ms, "the newest connection of {conn:?} is displaced");
                self.closes += 1;
                self.nodes[at].leave(key);
            }
            Action::Tell { address, place, .. } => {
                let arrives_ms = self.now_ms + self.random.below(200);
                self.tells.push((arrives_ms, at, address, place));
            }
            Action::Found { ticket, found } => {
                assert!(self.open.remove(&(at, ticket)), "one answer to each lookup");
                self.check_routes(at, found);
            }
            Action::StepDown { .. } => panic!("no two runs of one node are alive"),
        }
    }

    /// A record of a dead node is not routed to after its lease.
    fn check_routes(&mut self, at: usize, found: Answer) {
        let frozen = self.nodes[at].registrar.fleet.is_frozen(self.now_ms);
        for route in found.iter().flat_map(|found| &found.routes) {
            let target = self.nodes.iter().find(|node| node_number(&node.name) == route.place.node);
            let target = target.expect("a node that there is");
            self.routed += 1;
            let alive = target.dead_since_ms.is_none() && target.incarnation == route.place.incarnation;
            let since_ms = target.dead_since_ms.unwrap_or(target.incarnation);
            // The lease, and the age of the table.
            let tolerated = since_ms + 10_000 + 1_000 + TIMEOUT_MS >= self.now_ms;
            assert!(alive || tolerated || frozen, "routed to {} since {since_ms}", target.name);
        }
    }

    fn submit(&mut self, at: usize, id: u64, request: Request) {
        let (sent_ms, random) = (self.now_ms, &mut self.random);
        let slow = self.faults && random.below(30) == 0;
        let runs_at_ms = sent_ms + random.below(if slow { 4_000 } else { 20 });
        let slow = self.faults && random.below(30) == 0;
        let answer_at_ms = runs_at_ms + random.below(if slow { 4_000 } else { 20 });
        let lost = self.faults && random.below(50) == 0;
        let in_time = answer_at_ms < sent_ms + TIMEOUT_MS && !lost;
        self.flights.push(Flight {
            node: at,
            incarnation: self.nodes[at].incarnation,
            id,
            request,
            sent_ms,
            runs_at_ms,
            answer_at_ms: in_time.then_some(answer_at_ms),
            reply: None,
            has_run: false,
        });
    }

    fn move_flights(&mut self) {
        let mut flights = std::mem::take(&mut self.flights);
        flights.sort_by_key(|flight| flight.runs_at_ms);
        flights.retain_mut(|flight| {
            let node = &self.nodes[flight.node];
            let reachable = self.redis_is_up && !node.cut_off;
            if !flight.has_run && flight.runs_at_ms <= self.now_ms {
                flight.has_run = true;
                // It refuses to run once its sender has been told of the time-out.
                let in_time = flight.runs_at_ms < flight.sent_ms + TIMEOUT_MS;
                if reachable && in_time {
                    flight.reply = Some(self.redis.run(&flight.request, flight.sent_ms, flight.runs_at_ms));
                }
            }
            let result = match flight.answer_at_ms {
                Some(at_ms) if at_ms <= self.now_ms => flight.reply.take().ok_or(Failure::Down),
                None if flight.sent_ms + TIMEOUT_MS <= self.now_ms => Err(Failure::Timeout),
                _ => return true,
            };
            if node.dead_since_ms.is_none() && node.incarnation == flight.incarnation {
                let answer = Output::Answer { id: flight.id, result, took_us: 0 };
                self.nodes[flight.node].inbox.push_back(Input::Store(answer));
            }
            false
        });
        self.flights.append(&mut flights);
    }

    /// As the router does it.
    fn displace(&mut self, to: usize, place: Place) {
        if place.incarnation == self.nodes[to].registrar.incarnation() {
            self.carry_out(to, Action::Close(place.connection, Reason::Displaced));
        }
    }

    fn move_tells(&mut self) {
        for (arrives_ms, from, address, place) in std::mem::take(&mut self.tells) {
            if arrives_ms > self.now_ms {
                self.tells.push((arrives_ms, from, address, place));
                continue;
            }
            let to = self.nodes.iter().position(|node| node.name == address).expect("a node");
            let lost = self.faults && self.random.below(10) == 0;
            let answered = self.is_up(to) && !lost;
            if answered {
                self.displace(to, place);
            }
            self.nodes[from].inbox.push_back(Input::Told { place, answered });
        }
    }

    fn pass_ms(&mut self, ms: u64) {
        let end_ms = self.now_ms + ms;
        while self.now_ms < end_ms {
            self.step();
        }
    }

    /// No more faults: everything settles, and the registry is who is there.
    fn rest(&mut self) {
        self.faults = false;
        self.set_redis(true);
        for at in 0..NODES {
            self.cut_off(at, false);
            self.nodes[at].paused_until_ms = 0;
            self.revive(at);
        }
        self.pass_ms(60_000);
        // A failover may have brought back what was deleted: who is asked for a connection that it lacks removes its record.
        for at in 0..NODES {
            for user in 0..USERS {
                self.ask(at, format!("u{user}"), true);
            }
        }
        self.pass_ms(5_000);
        self.check_registry();
    }

    /// What there is: user, device, node and connection.
    fn there(&self) -> BTreeSet<There> {
        let mut there = BTreeSet::new();
        for (at, node) in self.nodes.iter().enumerate() {
            let registrar = &node.registrar;
            assert_eq!((registrar.unsettled(), registrar.is_healing()), (0, false), "{}", node.name);
            let of_conn =
                |(&key, conn): (&(u32, u32), &Conn)| (conn.user.clone(), conn.device.clone(), at, key);
            there.extend(node.conns.iter().map(of_conn));
        }
        there
    }

    /// What the registry says that there is.
    fn known(&self) -> BTreeSet<There> {
        let mut known = BTreeSet::new();
        for (user, devices) in &self.redis.users {
            for (device, (Record { place, .. }, _)) in devices {
                let at = self.nodes.iter().position(|node| node_number(&node.name) == place.node);
                let at = at.expect("a node");
                if self.nodes[at].incarnation == place.incarnation {
                    let key = (place.connection.key.index, place.connection.key.generation);
                    known.insert((user.clone(), device.clone(), at, key));
                }
            }
        }
        known
    }

    fn check_registry(&self) {
        assert_eq!(self.open, BTreeSet::new(), "lookups without an answer");
        let (mut there, known) = (self.there(), self.known());
        // Who was displaced by a node that died before it could say so stays, takes no message, and ends with its life.
        let is_orphan = |one: &There| {
            let (user, device, at, key) = one;
            let newest = self.newest[&(user.clone(), device.clone())];
            !known.contains(one) && newest > self.nodes[*at].conns[key].began_ms
        };
        let before = there.len();
        there.retain(|one| !is_orphan(one));
        // Where nobody dies, it takes two lost replies in a row to the connects of one device.
        assert!(self.nodes_die || before - there.len() <= 1, "{} are forgotten", before - there.len());
        let extra: Vec<_> = there.difference(&known).collect();
        let missing: Vec<_> = known.difference(&there).collect();
        assert!(
            extra.is_empty() && missing.is_empty(),
            "there, not known: {extra:?}; known, not there: {missing:?}"
        );
        let devices: BTreeSet<_> = there.iter().map(|(user, device, ..)| (user, device)).collect();
        assert_eq!(devices.len(), there.len(), "one connection a device");
    }
}

#[test]
fn whatever_happens_the_registry_is_who_is_there() {
    let count = std::env::var("SIM_SEEDS").map_or(30, |text| text.parse().unwrap());
    let (mut closes, mut routed) = (0, 0);
    for seed in 0..count {
        let run = || {
            let mut world = World::new(seed);
            for _ in 0..4_000 {
                world.step();
            }
            world.rest();
            (world.closes, world.routed)
        };
        match panic::catch_unwind(run) {
            Ok(counts) => (closes, routed) = (closes + counts.0, routed + counts.1),
            Err(cause) => {
                eprintln!("seed {seed}");
                panic::resume_unwind(cause);
            }
        }
    }
    assert!(closes > 100 && routed > 1_000, "{closes} closes, {routed} routes");
}
