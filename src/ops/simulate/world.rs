//! A fleet and its clients, step by step.
//!
//! Every client is somewhere: on a node, in a node's accept queue, between two tries, behind a broken network, unaware of a
//! loss, or not there at all; each step ends with that sum. A run is determined by its rules, its seed and what is done to it.

use super::{
    balancer::Balancer,
    bins::Ring,
    clients::{Away, Counts, TRIES},
    node::{Node, State},
    rules::{Parting, Rules, Tables},
};
use crate::kit::random::Random;

/// What happened within a step, and how things stand at its end.
#[derive(Clone, Copy, Default, PartialEq, Debug)]
pub struct Row {
    /// The end of the step, seconds from the beginning.
    pub at_s: f64,
    /// Connections opened.
    pub accepted: u64,
    /// Handshakes that were sent away with the time to come back.
    pub refused: u64,
    /// Handshakes without an answer.
    pub failed: u64,
    /// Connections that were asked to go.
    pub goaways: u64,
    /// Open connections.
    pub open: u64,
    /// The most connections that a node has opened within this second, or within this step where that is longer.
    pub busiest: u64,
    /// The most connections that a node has.
    pub fullest: u64,
    /// The fewest that a node has which takes connections.
    pub emptiest: u64,
    /// Nodes that take connections.
    pub serving: u32,
    /// Nodes that leave.
    pub draining: u32,
    /// The longest accept queue of a node.
    pub queued: u64,
}

/// See the module.
#[derive(Debug)]
pub struct World {
    rules: Rules,
    tables: Tables,
    nodes: Vec<Node>,
    balancer: Balancer,
    away: Away,
    /// Clients behind a broken network.
    cut: Away,
    cut_until: u64,
    /// Clients that have not noticed yet that they lost their connection.
    unaware: Ring,
    /// Clients that are not there.
    outside: u64,
    now: u64,
    random: Random,
}

impl World {
    /// Nodes without connections; all clients are outside.
    pub fn new(rules: Rules, seed: u64) -> Self {
        let tables = rules.tables();
        Self {
            nodes: (0..rules.nodes).map(|_| Node::new(&tables, 0)).collect(),
            balancer: Balancer::new(rules.balancing),
            away: Away::new(tables.away_len),
            cut: Away::new(tables.away_len),
            cut_until: 0,
            unaware: Ring::new(tables.notice.len() + 1),
            outside: rules.connections,
            now: 0,
            random: Random::seeded(seed),
            rules,
            tables,
        }
    }

    /// So many clients are connected, as they are when nothing has disturbed the fleet for long.
    pub fn settle(&mut self, clients: u64) {
        let clients = clients.min(self.outside);
        let among = self.nodes.len() as u64;
        for (at, node) in self.nodes.iter_mut().enumerate() {
            let share = clients / among + u64::from((at as u64) < clients % among);
            node.fill(share, &self.tables, &mut self.random);
        }
        self.outside -= clients;
    }

    /// So many clients come from outside, each at any moment of so many steps.
    pub fn join(&mut self, clients: u64, within: u64) {
        let clients = clients.min(self.outside);
        let within = within.clamp(1, self.tables.away_len as u64 - 1);
        for step in 0..within {
            let share = clients * (step + 1) / within - clients * step / within;
            self.away.come_in(step as usize, share);
        }
        self.outside -= clients;
    }

    /// So many clients leave for good, whoever they are.
    pub fn quit(&mut self, clients: u64) {
        self.outside += self.disconnect(clients);
    }

    /// A node dies; its clients come back as they notice.
    pub fn kill(&mut self, node: usize) {
        let detect = self.rules.steps(self.rules.detect_ms);
        let (open, waiting) = self.nodes[node].kill(self.now, detect);
        self.unaware.deal(open, &self.tables.notice, &mut self.random);
        self.back_off(&waiting);
    }

    /// A node begins to leave.
    pub fn drain(&mut self, node: usize, parting: Parting) {
        let detect = self.rules.steps(self.rules.detect_ms);
        self.nodes[node].drain(self.now, detect, parting);
    }

    /// Another node starts now, and takes connections once it has started and the balancer has noticed; its number.
    pub fn add_node(&mut self) -> usize {
        let starts = self.rules.steps(self.rules.startup_ms + self.rules.detect_ms);
        self.nodes.push(Node::new(&self.tables, self.now + starts));
        self.nodes.len() - 1
    }

    /// So many clients lose connection and network for so many steps.
    pub fn cut(&mut self, clients: u64, steps: u64) {
        let lost = self.disconnect(clients);
        self.cut_until = self.now + steps;
        self.cut.wait(0, lost, &self.tables.back, &mut self.random);
    }

    fn disconnect(&mut self, clients: u64) -> u64 {
        let mut open = self.open();
        let mut wanted = clients.min(open);
        let mut taken = 0;
        for node in &mut self.nodes {
            let held = node.open();
            if held == 0 {
                continue;
            }
            let share = ((wanted as f64 * (held as f64 / open as f64)).round() as u64).min(held).min(wanted);
            let cut = node.cut(share, &mut self.random);
            (open, wanted, taken) = (open - held, wanted - cut, taken + cut);
        }
        taken
    }

    /// Moves on by a step.
    pub fn step(&mut self) -> Row {
        let mut row = Row::default();
        self.end_lives(&mut row);
        let noticed = self.unaware.pop();
        self.away.wait(0, noticed, &self.tables.back, &mut self.random);
        let mut trying = self.away.pop();
        self.pop_cut(&mut trying, &mut row);
        self.shake_hands(&trying, &mut row);
        self.now += 1;
        self.look(&mut row);
        row
    }

    fn end_lives(&mut self, row: &mut Row) {
        let mut gone = 0;
        for at in 0..self.nodes.len() {
            let left = self.nodes[at].turn(self.now, &self.tables, &mut self.random);
            row.goaways += left.goaways;
            gone += left.gone;
            if let Some(waiting) = self.nodes[at].finish(self.now) {
                self.back_off(&waiting);
            }
        }
        self.away.wait(0, gone, &self.tables.back, &mut self.random);
    }

    /// Behind a broken network every try fails; once it is whole again they are clients as all others.
    fn pop_cut(&mut self, trying: &mut Counts, row: &mut Row) {
        let cut = self.cut.pop();
        let is_broken = self.now < self.cut_until;
        for (tries, &count) in cut.iter().enumerate().filter(|(_, count)| **count > 0) {
            if is_broken {
                row.failed += count;
                let wait = &self.tables.backoff[(tries + 1).min(TRIES - 1)];
                self.cut.wait(tries + 1, count, wait, &mut self.random);
            } else {
                trying[tries] += count;
            }
        }
    }

    fn shake_hands(&mut self, trying: &Counts, row: &mut Row) {
        let listed: Vec<usize> =
            (0..self.nodes.len()).filter(|&at| self.nodes[at].is_listed(self.now)).collect();
        if listed.is_empty() {
            row.failed += trying.iter().sum::<u64>();
            return self.back_off(trying);
        }
        let mut open: Vec<u64> =
            listed.iter().map(|&at| self.nodes[at].open() + self.nodes[at].queued()).collect();
        let mut offered = vec![[0; TRIES]; self.nodes.len()];
        for (tries, &count) in trying.iter().enumerate().filter(|(_, count)| **count > 0) {
            let shares = self.balancer.divide(count, &open, &mut self.random);
            for ((&at, share), open) in listed.iter().zip(shares).zip(&mut open) {
                offered[at][tries] += share;
                *open += share;
            }
        }
        let (mut refused, mut failed) = ([0; TRIES], [0; TRIES]);
        for (node, offered) in self.nodes.iter_mut().zip(&offered) {
            let served = node.serve(self.now, offered, &self.tables);
            row.accepted += served.accepted;
            row.busiest = row.busiest.max(node.opened(self.now, &self.tables, served.accepted));
            for tries in 0..TRIES {
                refused[tries] += served.refused[tries];
                failed[tries] += served.failed[tries];
            }
        }
        row.refused += refused.iter().sum::<u64>();
        row.failed += failed.iter().sum::<u64>();
        for (tries, &count) in refused.iter().enumerate() {
            self.away.wait(tries + 1, count, &self.tables.retry, &mut self.random);
        }
        self.back_off(&failed);
    }

    /// Clients that had no answer wait, longer each time.
    fn back_off(&mut self, failed: &Counts) {
        for (tries, &count) in failed.iter().enumerate() {
            let wait = &self.tables.backoff[(tries + 1).min(TRIES - 1)];
            self.away.wait(tries + 1, count, wait, &mut self.random);
        }
    }

    fn look(&mut self, row: &mut Row) {
        row.at_s = self.now_s();
        row.emptiest = u64::MAX;
        for node in &self.nodes {
            let open = node.open();
            row.open += open;
            row.fullest = row.fullest.max(open);
            row.queued = row.queued.max(node.queued());
            match node.state() {
                State::Serving if node.is_listed(self.now) => {
                    row.serving += 1;
                    row.emptiest = row.emptiest.min(open);
                }
                State::Delay(_) | State::Leaving(_) => row.draining += 1,
                State::Serving | State::Gone => {}
            }
        }
        if row.serving == 0 {
            row.emptiest = 0;
        }
        let queued: u64 = self.nodes.iter().map(Node::queued).sum();
        let elsewhere = self.away.total() + self.cut.total() + self.unaware.total() + self.outside;
        assert_eq!(row.open + queued + elsewhere, self.rules.connections, "every client is somewhere");
    }

    /// Seconds since the beginning.
    pub fn now_s(&self) -> f64 {
        (self.now * self.rules.step_ms) as f64 / 1e3
    }

    /// Open connections.
    pub fn open(&self) -> u64 {
        self.nodes.iter().map(Node::open).sum()
    }

    /// Clients that are there, connected or not.
    pub fn clients(&self) -> u64 {
        self.rules.connections - self.outside
    }

    /// The nodes, also those that are gone.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The numbers of the nodes that serve and are listed.
    pub fn serving(&self) -> Vec<usize> {
        let serves = |at: &usize| {
            let node = &self.nodes[*at];
            node.state() == State::Serving && node.is_listed(self.now)
        };
        (0..self.nodes.len()).filter(serves).collect()
    }

    /// Nodes that are not gone, whether or not they take connections.
    pub fn alive(&self) -> usize {
        self.nodes.iter().filter(|node| node.state() != State::Gone).count()
    }

    /// Nodes that leave.
    pub fn draining(&self) -> usize {
        let leaves = |node: &&Node| matches!(node.state(), State::Delay(_) | State::Leaving(_));
        self.nodes.iter().filter(leaves).count()
    }

    /// What it was made by.
    pub fn rules(&self) -> &Rules {
        &self.rules
    }
}
