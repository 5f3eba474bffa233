//! Faults by chance, one on top of the other, under a load that is counted in and out. The seed says which.

use crate::{
    brokers::Brokers,
    fleet::{LONG, expect},
    servers::command,
    site::{Site, plan},
};
use std::{
    env, thread,
    time::{Duration, Instant},
};

/// Unless `KAFKA_STEPS` says otherwise.
const STEPS: usize = 5;

/// What goes on until it is undone.
#[derive(Default)]
struct Amiss {
    registry_stands: bool,
    kafka_is_gone: bool,
    /// A node's number.
    node_is_gone: Option<usize>,
}

struct Chaos {
    began: Instant,
    brokers: Brokers,
    site: Site,
    random: fastrand::Rng,
    amiss: Amiss,
    /// For names.
    processors: usize,
}

/// A variable of the environment that is a number.
fn number(name: &str) -> Option<u64> {
    env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name}={text}")))
}

#[test]
fn whatever_happens_nothing_is_lost_that_was_not_reported() {
    let seed = number("KAFKA_SEED").unwrap_or_else(|| fastrand::u64(..));
    println!("KAFKA_SEED={seed}");
    let brokers = Brokers::start(1);
    let mut site = Site::start(&brokers, "chaos", &[&[], &[], &[]], 16);
    site.load.flow(200);
    site.wait_heard();
    let (began, random) = (Instant::now(), fastrand::Rng::with_seed(seed));
    let mut chaos = Chaos { began, brokers, site, random, amiss: Amiss::default(), processors: 0 };
    for _ in 0..number("KAFKA_STEPS").map_or(STEPS, |steps| steps as usize) {
        chaos.harm();
        let pause = Duration::from_millis(chaos.random.u64(..2_000));
        thread::sleep(pause);
        if chaos.random.bool() {
            chaos.mend();
        }
    }
    chaos.mend();
    let Chaos { mut site, brokers, .. } = chaos;
    // What is lost in one place comes in another, with what was done since.
    site.repeats *= 2;
    site.traffic.wait_registered(&site.fleet, &[]);
    site.wait_heard();
    let (_, _, counts) = site.end();
    assert_eq!(counts.dead, 0, "{counts:?}");
    drop(brokers);
}

impl Chaos {
    fn harm(&mut self) {
        let at = self.random.usize(..3);
        if self.random.bool() {
            self.say("a burst");
            self.site.load.burst(1_000);
        }
        match self.random.u8(..7) {
            0 if self.amiss.node_is_gone.is_none() => self.end_node(at, "KILL"),
            1 if self.amiss.node_is_gone.is_none() => self.end_node(at, "TERM"),
            2 if !self.amiss.registry_stands => {
                self.say("the registry stands still");
                self.site.fleet.registry.server().signal("-STOP");
                self.amiss.registry_stands = true;
            }
            3 if !self.amiss.registry_stands => {
                self.say("the registry forgets everything");
                let mut server = self.site.fleet.registry.server().connect();
                command(&mut server, "FLUSHALL").unwrap();
            }
            4 if !self.amiss.kafka_is_gone => {
                self.say("Kafka is gone");
                self.brokers.kill(0);
                self.site.repeats += 1;
                self.amiss.kafka_is_gone = true;
            }
            5 if !self.amiss.registry_stands && !self.amiss.kafka_is_gone => {
                self.processors += 1;
                self.say("one more processor");
                self.site.process(&self.brokers, &format!("processor-{}", self.processors));
            }
            6 => {
                if let Some(processor) = self.site.processors.pop() {
                    self.say("a processor is killed");
                    drop(processor);
                    self.site.repeats += 1;
                }
            }
            _ => {}
        }
    }

    fn say(&self, words: &str) {
        println!("{:?} {words}", self.began.elapsed());
    }

    fn end_node(&mut self, at: usize, signal: &str) {
        self.say(&format!("{} ends by {signal}", self.site.fleet.node(at).id));
        self.site.fleet.node(at).signal(signal);
        self.site.traffic.shut(at);
        self.site.repeats += 1;
        self.amiss.node_is_gone = Some(at);
    }

    fn mend(&mut self) {
        let Amiss { registry_stands, kafka_is_gone, node_is_gone } = std::mem::take(&mut self.amiss);
        self.say("all is mended");
        let site = &mut self.site;
        if registry_stands {
            site.fleet.registry.server().signal("-CONT");
        }
        if kafka_is_gone {
            self.brokers.start_again(0);
        }
        if let Some(at) = node_is_gone {
            expect("a node's end", LONG, &true, || site.fleet.nodes[at].ended().is_some());
            let (id, url) = (format!("node-{}", at + 1), site.fleet.registry.url());
            site.fleet.nodes[at] = plan(&id, &url, &self.brokers.addresses(), site.test, &[]).start();
            site.traffic.open(at, site.fleet.node(at));
        }
    }
}
