//! Faults by chance, one on top of the other, under a load that is counted in and out. The seed says which.

use crate::{
    fleet::{Fleet, LONG, expect, plan},
    registry::Registry,
    servers::{Cluster, Sentinels, command},
    traffic::Traffic,
};
use std::{
    collections::BTreeSet,
    env, thread,
    time::{Duration, Instant},
};

/// Unless `FLEET_STEPS` says otherwise.
const STEPS: usize = 6;
const SETS: [&str; 1] = ["registry.timeout=1s"];

/// What goes on until it is undone. At most one node is away at a time.
#[derive(Default)]
struct Amiss {
    /// One of its servers, by its number.
    registry_stands: Option<usize>,
    node_stands: Option<usize>,
    node_is_gone: Option<usize>,
}

struct Chaos {
    began: Instant,
    fleet: Fleet,
    traffic: Traffic,
    random: fastrand::Rng,
    amiss: Amiss,
    /// Nodes whose counts began anew.
    restarted: BTreeSet<usize>,
}

#[test]
fn it_ends_well_with_one_redis() {
    whatever_happens(Registry::single());
}

#[test]
fn it_ends_well_with_sentinels() {
    whatever_happens(Registry::Sentinels(Sentinels::start()));
}

#[test]
fn it_ends_well_with_a_cluster() {
    whatever_happens(Registry::Cluster(Cluster::start()));
}

/// A variable of the environment that is a number.
fn number(name: &str) -> Option<u64> {
    env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name}={text}")))
}

fn whatever_happens(registry: Registry) {
    let seed = number("FLEET_SEED").unwrap_or_else(|| fastrand::u64(..));
    println!("FLEET_SEED={seed}");
    let fleet = Fleet::start(registry, 3, &SETS);
    let began = Instant::now();
    let (traffic, random) = (Traffic::start(&fleet, 20), fastrand::Rng::with_seed(seed));
    let mut chaos =
        Chaos { began, fleet, traffic, random, amiss: Amiss::default(), restarted: BTreeSet::new() };
    for _ in 0..number("FLEET_STEPS").map_or(STEPS, |steps| steps as usize) {
        chaos.harm();
        let pause = Duration::from_millis(chaos.random.u64(..2_000));
        thread::sleep(pause);
        if chaos.random.bool() {
            chaos.mend();
        }
    }
    chaos.mend();
    let Chaos { fleet, traffic, restarted, .. } = chaos;
    expect("the whole registry", LONG, &true, || fleet.registry.is_whole());
    fleet.wait_whole();
    traffic.wait_heard();
    traffic.wait_registered(&fleet, &[]);
    let nodes: Vec<_> = fleet.numbered().into_iter().filter(|(at, _)| !restarted.contains(at)).collect();
    let counts = traffic.end().check(&nodes);
    assert_eq!(counts.displaced, 0, "a device with one client: {counts:?}");
}

impl Chaos {
    fn harm(&mut self) {
        let at = self.random.usize(..3);
        let server = self.random.usize(..self.fleet.registry.servers().len());
        let all_answer = self.amiss.registry_stands.is_none();
        let all_are_there = self.amiss.node_is_gone.is_none() && self.amiss.node_stands.is_none();
        match self.random.u8(..6) {
            0 if all_are_there => self.end_node(at, "KILL"),
            1 if all_are_there => self.end_node(at, "TERM"),
            2 if all_are_there => {
                self.say(&format!("{} stands still", self.fleet.node(at).id));
                self.fleet.node(at).signal("STOP");
                self.amiss.node_stands = Some(at);
            }
            3 if all_answer => {
                self.say(&format!("server {server} stands still"));
                self.fleet.registry.servers()[server].signal("-STOP");
                self.amiss.registry_stands = Some(server);
            }
            4 if all_answer => {
                self.say(&format!("server {server} begins anew"));
                self.fleet.registry.servers_mut()[server].restart();
            }
            5 if all_answer => {
                self.say(&format!("server {server} forgets everything"));
                // A replica does not do as it is told.
                let _ = command(&mut self.fleet.registry.servers()[server].connect(), "FLUSHALL");
            }
            _ => {}
        }
    }

    fn say(&self, words: &str) {
        println!("{:?} {words}", self.began.elapsed());
    }

    fn end_node(&mut self, at: usize, signal: &str) {
        self.say(&format!("{} ends by {signal}", self.fleet.node(at).id));
        self.fleet.node(at).signal(signal);
        self.traffic.shut(at);
        self.amiss.node_is_gone = Some(at);
        self.restarted.insert(at);
    }

    fn mend(&mut self) {
        let Amiss { registry_stands, node_stands, node_is_gone } = std::mem::take(&mut self.amiss);
        self.say("all is mended");
        if let Some(server) = registry_stands {
            self.fleet.registry.servers()[server].signal("-CONT");
        }
        if let Some(at) = node_stands {
            self.fleet.node(at).signal("CONT");
        }
        if let Some(at) = node_is_gone {
            self.fleet.nodes[at].wait_end();
            self.fleet.nodes[at] =
                plan(&format!("node-{}", at + 1), &self.fleet.registry.url(), &["registry.timeout=1s"])
                    .start();
            self.traffic.open(at, self.fleet.node(at));
        }
    }
}
