//! An Apache Kafka: one broker, which is its own controller, from the published jars.

use crate::{
    outcome::Outcome,
    process::{cpu_ns, until},
};
use std::{
    fs::{self, File},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};
use tempfile::TempDir;

/// Of each topic.
pub const PARTITIONS: u32 = 8;

/// Killed when it goes out of scope.
pub struct Broker {
    /// `host:port`
    pub address: String,
    child: Child,
    /// Its data and its log.
    _folder: TempDir,
}

impl Broker {
    pub fn start() -> Outcome<Self> {
        let (folder, jars) = (tempfile::tempdir()?, jars()?);
        let (clients, controller) = (free_port()?, free_port()?);
        let properties = format!(
            "process.roles=broker,controller\nnode.id=1\ncontroller.quorum.voters=1@127.0.0.1:{controller}\n\
             listeners=PLAINTEXT://127.0.0.1:{clients},CONTROLLER://127.0.0.1:{controller}\n\
             advertised.listeners=PLAINTEXT://127.0.0.1:{clients}\ncontroller.listener.names=CONTROLLER\n\
             inter.broker.listener.name=PLAINTEXT\n\
             listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT\nlog.dirs={}\n\
             offsets.topic.replication.factor=1\noffsets.topic.num.partitions=4\n\
             transaction.state.log.replication.factor=1\ntransaction.state.log.min.isr=1\n\
             group.initial.rebalance.delay.ms=0\nnum.partitions={PARTITIONS}\n",
            folder.path().join("data").display()
        );
        fs::write(folder.path().join("server.properties"), properties)?;
        let format = ["kafka.tools.StorageTool", "format", "-t", "AAAAAAAAAAAAAAAAAAAAAQ"];
        let formatted =
            java(folder.path(), &jars)?.args(format).args(["-c", "server.properties"]).status()?;
        if !formatted.success() {
            return Err("Kafka's folder cannot be made".into());
        }
        let child = java(folder.path(), &jars)?.args(["kafka.Kafka", "server.properties"]).spawn()?;
        let address = format!("127.0.0.1:{clients}");
        let broker = Self { address, child, _folder: folder };
        until("Kafka", || Ok(TcpStream::connect(&broker.address).is_ok()))?;
        Ok(broker)
    }

    pub fn cpu_ns(&self) -> Outcome<u64> {
        cpu_ns(self.child.id())
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn java(folder: &Path, jars: &Path) -> Outcome<Command> {
    let mut command = Command::new("java");
    let log = File::options().create(true).append(true).open(folder.join("log"))?;
    command.current_dir(folder).args(["-Xmx512m", "-cp"]).arg(jars.join("libs/*"));
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    Ok(command)
}

/// Where the jars are; fetched where they are missing.
fn jars() -> Outcome<PathBuf> {
    let executable = std::env::current_exe()?;
    let folder = executable.ancestors().nth(3).ok_or("this program has no folder")?.join("kafka");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/install-kafka");
    match Command::new(script).arg(&folder).status()?.success() {
        true => Ok(folder),
        false => Err("Kafka cannot be fetched".into()),
    }
}

fn free_port() -> Outcome<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
