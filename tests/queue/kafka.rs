//! With a real Apache Kafka, from its published jars.

use crate::{node::*, suite};
use holdfast::bridge::queue::{Event, Output};
use std::{
    fs::{self, File},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::Instant,
};
use tempfile::TempDir;

/// One broker, which is its own controller. Killed when dropped.
struct Kafka {
    address: String,
    folder: TempDir,
    child: Child,
}

impl Kafka {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (clients, controller) = (free_port(), free_port());
        let data = folder.path().join("data");
        let properties = format!(
            "process.roles=broker,controller\nnode.id=1\ncontroller.quorum.voters=1@127.0.0.1:{controller}\n\
             listeners=PLAINTEXT://127.0.0.1:{clients},CONTROLLER://127.0.0.1:{controller}\n\
             advertised.listeners=PLAINTEXT://127.0.0.1:{clients}\ncontroller.listener.names=CONTROLLER\n\
             inter.broker.listener.name=PLAINTEXT\n\
             listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT\nlog.dirs={}\n\
             offsets.topic.replication.factor=1\noffsets.topic.num.partitions=4\n\
             transaction.state.log.replication.factor=1\ntransaction.state.log.min.isr=1\n\
             group.initial.rebalance.delay.ms=0\nnum.partitions=8\n",
            data.display()
        );
        fs::write(folder.path().join("server.properties"), properties).unwrap();
        let formatted =
            java(folder.path(), &["kafka.tools.StorageTool", "format", "-t", "AAAAAAAAAAAAAAAAAAAAAQ"])
                .args(["-c", "server.properties"])
                .status()
                .unwrap();
        assert!(formatted.success());
        let child = java(folder.path(), &["kafka.Kafka", "server.properties"]).spawn().unwrap();
        let kafka = Self { address: format!("127.0.0.1:{clients}"), folder, child };
        kafka.wait();
        kafka
    }

    fn wait(&self) {
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect(&self.address).is_err() {
            assert!(Instant::now() < deadline, "Kafka does not start; see {}", self.folder.path().display());
            thread::sleep(std::time::Duration::from_millis(50));
        }
    }

    fn kill(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// On its port, with its data.
    fn start_again(&mut self) {
        self.child = java(self.folder.path(), &["kafka.Kafka", "server.properties"]).spawn().unwrap();
        self.wait();
    }
}

impl Drop for Kafka {
    fn drop(&mut self) {
        self.kill();
    }
}

fn java(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new("java");
    let log = File::options().create(true).append(true).open(folder.join("log")).unwrap();
    command.current_dir(folder).args(["-Xmx512m", "-cp"]).arg(jars().join("libs/*")).args(arguments);
    command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
    command
}

/// Where the jars are; fetched where they are missing.
fn jars() -> PathBuf {
    let executable = std::env::current_exe().unwrap();
    let folder = executable.ancestors().nth(3).unwrap().join("kafka");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/install-kafka");
    assert!(Command::new(script).arg(&folder).status().unwrap().success(), "Kafka cannot be fetched");
    folder
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// One after the other, as a broker takes its time to start and its share of the machine.
#[test]
fn what_holds_with_the_embedded_broker_holds_with_kafka() {
    let mut kafka = Kafka::start();
    let address = kafka.address.clone();
    suite::records_come_as_they_were(&address);
    suite::a_lane_that_is_not_kept_up_with_stops(&address);
    suite::lanes_rest_and_skip(&address, true);
    suite::lag_is_told(&address);
    suite::what_is_not_done_comes_again(&address);
    suite::a_rebalance_loses_and_repeats_nothing(&address);
    suite::a_high_lane_overtakes_a_backlog(&address);
    suite::a_record_that_waits_does_not_stop_its_lane(&address);
    suite::who_left_may_join_again(&address);
    suite::a_producer_stands_alone(&address);
    a_broker_that_is_killed_comes_back(&mut kafka);
}

fn a_broker_that_is_killed_comes_back(kafka: &mut Kafka) {
    let test = "killed";
    let source = Source::new(&kafka.address);
    source.make_topics(test);
    let node = Node::start(&settings(&kafka.address, test, "a"));
    let event = |wanted: Event| {
        node.until("an event", |output| (output == Output::Event(wanted.clone())).then_some(()));
    };
    event(Event::Up);
    node.done(&node.next_batch(PATIENCE));
    kafka.kill();
    event(Event::Down);
    kafka.start_again();
    event(Event::Up);
    source.produce([record(&topic(test, 0), "ada", "after")]);
    let mut after = node.next_batch(PATIENCE);
    // What was done in the second before may come again.
    while after.iter().all(|(_, record)| record.value.as_deref() != Some(b"after")) {
        after = node.next_batch(PATIENCE);
        assert!(!after.is_empty());
    }
}
