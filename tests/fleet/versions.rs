//! Nodes of two releases in one fleet, upgraded and rolled back one by one under a load that is counted in and out. The
//! later release is this one, built to read and write the next format.

use crate::{
    fleet::{Fleet, LONG, expect, plan},
    node::Node,
    registry::Registry,
    traffic::Traffic,
    verdict::Tally,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    process::Command,
    sync::LazyLock,
};

const NODES: usize = 3;
/// So many that each node gets some of them.
const USERS: usize = 40;
const THIS_PROGRAM: &str = env!("CARGO_BIN_EXE_holdfast");
static NEXT_PROGRAM: LazyLock<PathBuf> = LazyLock::new(build_next_program);

/// A program and the highest format that it reads.
#[derive(Clone, Copy)]
struct Release {
    program: &'static Path,
    format: u8,
}

/// Builds it beside this one, unless that was done, in a folder of its own, so that neither build replaces what the other has made.
fn build_next_program() -> PathBuf {
    if let Some(program) = std::env::var_os("TEST_NEXT_FORMAT") {
        return program.into();
    }
    let target = Path::new(THIS_PROGRAM).ancestors().nth(2).unwrap().join("next-format");
    let mut command = Command::new(env!("CARGO"));
    command.args(["build", "--features", "next-format", "--bin", "holdfast", "--target-dir"]).arg(&target);
    let output = command.current_dir(env!("CARGO_MANIFEST_DIR")).output();
    let output = output.unwrap_or_else(|fault| panic!("cannot run {}: {fault}", env!("CARGO")));
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "the build of the next format failed, {}:\n{words}", output.status);
    target.join("debug/holdfast")
}

/// A fleet whose nodes are replaced in turn. To the load each run of a node is a node of its own; the remainder of its number
/// by [`NODES`] is its place in the fleet.
struct Rollout {
    fleet: Fleet,
    traffic: Traffic,
    /// Of each place.
    formats: [u8; NODES],
    /// The number of the run that was there first and is still there.
    first: usize,
    /// What the runs that have ended had counted.
    tallies: Vec<Tally>,
}

#[test]
fn a_fleet_is_upgraded_and_rolled_back_node_by_node_under_load() {
    let this = Release { program: Path::new(THIS_PROGRAM), format: 1 };
    let next = Release { program: &NEXT_PROGRAM, format: 2 };
    let fleet = Fleet::start(Registry::single(), NODES, &[]);
    let traffic = Traffic::start(&fleet, USERS);
    let mut rollout = Rollout { fleet, traffic, formats: [1; NODES], first: 0, tallies: Vec::new() };
    rollout.check();
    for _ in 0..NODES {
        rollout.restart(next);
        rollout.check();
    }
    for _ in 0..NODES {
        rollout.relieve(this);
        rollout.check();
    }
    let Rollout { fleet, traffic, first, tallies, .. } = rollout;
    fleet.nodes.iter().for_each(check_log);
    let record = traffic.end();
    let last: Vec<(usize, &Node)> = (first..).zip(&fleet.nodes).collect();
    let counts = record.check(&last);
    tallies.iter().for_each(|tally| record.check_tally(tally));
    assert_eq!(counts.displaced, 0, "a device with one client: {counts:?}");
    assert_eq!(counts.outcomes.get("failed"), None, "all could be reached all the time: {counts:?}");
    assert_eq!((counts.refused, counts.unanswered), (0, 0), "{counts:?}");
}

impl Rollout {
    /// A node leaves, and then another release begins under its name.
    fn restart(&mut self, release: Release) {
        let place = self.end_first();
        let node = self.begin(release, &self.fleet.nodes[place].id);
        self.put(place, node, release);
    }

    /// Another release begins under another name, and then a node leaves.
    fn relieve(&mut self, release: Release) {
        let id = format!("{}-again", self.fleet.nodes[self.first % NODES].id);
        let node = self.begin(release, &id);
        let place = self.end_first();
        self.put(place, node, release);
    }

    fn begin(&self, release: Release, id: &str) -> Node {
        let node = plan(id, &self.fleet.registry.url(), &[]).program(release.program).start();
        self.traffic.open(self.first + NODES, &node);
        node
    }

    /// Says at which place.
    fn end_first(&mut self) -> usize {
        let place = self.first % NODES;
        self.traffic.shut(self.first);
        let node = &mut self.fleet.nodes[place];
        self.tallies.push(Tally::of(self.first, node));
        node.sigterm();
        assert_eq!(node.wait(), 0);
        check_log(node);
        place
    }

    fn put(&mut self, place: usize, node: Node, release: Release) {
        self.fleet.nodes[place] = node;
        self.formats[place] = release.format;
        self.first += 1;
    }

    /// Waits until all know each other and write what they should, to the registry and to each other.
    fn check(&self) {
        self.fleet.wait_whole();
        self.wait_runs();
        // Records that were written before may be of another format, and who was let in elsewhere has stayed there.
        self.traffic.vanish_all();
        let oldest = self.formats.into_iter().min();
        expect("the formats of the records", LONG, &oldest.into_iter().collect(), || {
            self.fleet.registry.formats()
        });
        self.traffic.wait_heard();
        self.traffic.wait_registered(&self.fleet, &[]);
        for (node, own) in self.fleet.nodes.iter().zip(self.formats) {
            let others = self.fleet.nodes.iter().zip(self.formats).filter(|(other, _)| other.id != node.id);
            let expected: BTreeMap<String, u8> =
                others.map(|(other, format)| (other.internal.to_string(), own.min(format))).collect();
            expect(&format!("the formats of the links of {}", node.id), LONG, &expected, || {
                let mut links = links(node);
                links.retain(|address, _| expected.contains_key(address));
                links
            });
        }
    }

    /// Waits until every node knows the others' present runs, which may have the names of earlier ones.
    fn wait_runs(&self) {
        let leases = self.fleet.registry.leases();
        let held: BTreeSet<(String, u64)> =
            leases.into_iter().map(|lease| (lease.node, lease.incarnation)).collect();
        for node in &self.fleet.nodes {
            expect(&format!("the runs that {} sees", node.id), LONG, &held, || {
                let answer = node.ask("GET", "/v1/nodes", b"").json();
                let run = |entry: &serde_json::Value| {
                    (entry["node"].as_str().unwrap().to_owned(), entry["incarnation"].as_u64().unwrap())
                };
                answer["nodes"].as_array().unwrap().iter().map(run).collect()
            });
        }
    }
}

/// The addresses that a node has had links to, and the format of the latest stream of each, by its log.
fn links(node: &Node) -> BTreeMap<String, u8> {
    let log = node.log();
    let lines = log.lines().filter(|line| line.contains("linked with another node"));
    let word = |line: &str, name: &str| {
        line.split(' ').find_map(|word| Some(word.strip_prefix(name)?.to_owned())).unwrap()
    };
    lines.map(|line| (word(line, "address="), word(line, "format=").parse().unwrap())).collect()
}

/// Nobody got what it cannot read.
fn check_log(node: &Node) {
    let log = node.log();
    for words in ["does not read the frames", "reads older frames", "cannot be read"] {
        assert!(!log.contains(words), "{}: {words}\n{log}", node.id);
    }
}
