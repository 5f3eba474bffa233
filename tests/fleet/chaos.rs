//! Faults by chance, one on top of the other, under a load that is counted in and out. The seed says which.

use crate::{
    fleet::{Fleet, plan},
    registry::Registry,
    servers::command,
    traffic::Traffic,
};
use std::{collections::BTreeSet, env, thread, time::Duration};

const STEPS: usize = 10;

/// What goes on until it is undone. At most one node is away at a time.
#[derive(Default)]
struct Amiss {
    registry_stands: bool,
    node_stands: Option<usize>,
    node_is_gone: Option<usize>,
}

struct Chaos {
    fleet: Fleet,
    traffic: Traffic,
    random: fastrand::Rng,
    amiss: Amiss,
    /// Nodes whose counts began anew.
    restarted: BTreeSet<usize>,
}

#[test]
fn whatever_happens_it_ends_well() {
    let seed = env::var("FLEET_SEED").map_or_else(|_| fastrand::u64(..), |seed| seed.parse().unwrap());
    println!("FLEET_SEED={seed}");
    let fleet = Fleet::start(Registry::single(), 3, &["registry.timeout=1s"]);
    let (traffic, random) = (Traffic::start(&fleet, 20), fastrand::Rng::with_seed(seed));
    let mut chaos = Chaos { fleet, traffic, random, amiss: Amiss::default(), restarted: BTreeSet::new() };
    for _ in 0..STEPS {
        chaos.harm();
        let pause = Duration::from_millis(chaos.random.u64(..2_000));
        thread::sleep(pause);
        if chaos.random.bool() {
            chaos.mend();
        }
    }
    chaos.mend();
    let Chaos { fleet, traffic, restarted, .. } = chaos;
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
        let all_are_there = self.amiss.node_is_gone.is_none() && self.amiss.node_stands.is_none();
        match self.random.u8(..6) {
            0 if all_are_there => self.end_node(at, "KILL"),
            1 if all_are_there => self.end_node(at, "TERM"),
            2 if all_are_there => {
                println!("{} stands still", self.fleet.node(at).id);
                self.fleet.node(at).signal("STOP");
                self.amiss.node_stands = Some(at);
            }
            3 if !self.amiss.registry_stands => {
                println!("the registry stands still");
                self.fleet.registry.server().signal("-STOP");
                self.amiss.registry_stands = true;
            }
            4 if !self.amiss.registry_stands => {
                println!("the registry begins anew");
                self.fleet.registry.server().restart();
            }
            5 if !self.amiss.registry_stands => {
                println!("the registry forgets everything");
                command(&mut self.fleet.registry.server().connect(), "FLUSHALL").unwrap();
            }
            _ => {}
        }
    }

    fn end_node(&mut self, at: usize, signal: &str) {
        println!("{} ends by {signal}", self.fleet.node(at).id);
        self.fleet.node(at).signal(signal);
        self.traffic.shut(at);
        self.amiss.node_is_gone = Some(at);
        self.restarted.insert(at);
    }

    fn mend(&mut self) {
        let Amiss { registry_stands, node_stands, node_is_gone } = std::mem::take(&mut self.amiss);
        println!("all is mended");
        if registry_stands {
            self.fleet.registry.server().signal("-CONT");
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
