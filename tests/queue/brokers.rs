//! Real Apache Kafkas, from their published jars: one broker, or several that make a cluster.
//!
//! Stands alone, so that another test target can name it by its path.

use rdkafka::{
    ClientConfig,
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    client::DefaultClientContext,
    consumer::{BaseConsumer, Consumer},
    error::RDKafkaErrorCode,
};
use std::{
    fmt::Write as _,
    fs::{self, File},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::OnceLock,
    thread,
    time::{Duration, Instant},
};
use tempfile::TempDir;

/// How long the brokers may take to do as they are told.
const PATIENCE: Duration = Duration::from_secs(60);
/// Who may come in by [`Brokers::guarded_addresses`] and [`Brokers::secured_addresses`].
pub const USER: &str = "ada";
/// And how.
pub const PASSWORD: &str = "a secret";

/// A cluster, each of whose brokers is a controller, too. Topics are made when they are first written to, with 8 partitions,
/// on three brokers if there are so many, of which two must have a record. Killed when dropped.
pub struct Brokers {
    brokers: Vec<Broker>,
    folder: TempDir,
}

struct Broker {
    /// For clients without a password; with one; for the other controllers; for clients with a password, over TLS.
    ports: [u16; 4],
    folder: PathBuf,
    secured: bool,
    process: Option<Child>,
}

impl Brokers {
    /// Starts so many, and waits until they know each other.
    pub fn start(count: usize) -> Self {
        let mut cluster = Self::prepare(count);
        for broker in &mut cluster.brokers {
            broker.start();
        }
        cluster.wait_for(count);
        cluster
    }

    /// One that also listens for TLS and SCRAM: see [`Self::secured_addresses`].
    pub fn start_secured() -> Self {
        let mut cluster = Self::prepare_kind(1, true);
        cluster.start_again(0);
        cluster
    }

    /// So many that are yet to be started, one by one, with [`Self::start_again`].
    pub fn prepare(count: usize) -> Self {
        Self::prepare_kind(count, false)
    }

    fn prepare_kind(count: usize, secured: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut ports = free_ports(count * 4).into_iter();
        let mut next = || ports.next().unwrap();
        let brokers: Vec<_> = (0..count)
            .map(|at| Broker {
                ports: [next(), next(), next(), next()],
                folder: folder.path().join(at.to_string()),
                secured,
                process: None,
            })
            .collect();
        let voters: Vec<_> = brokers
            .iter()
            .enumerate()
            .map(|(at, broker)| format!("{}@127.0.0.1:{}", at + 1, broker.ports[2]))
            .collect();
        for (at, broker) in brokers.iter().enumerate() {
            fs::create_dir(&broker.folder).unwrap();
            let properties = properties(broker, at, count, &voters.join(","));
            fs::write(broker.folder.join("server.properties"), properties).unwrap();
            if secured {
                write_certificate(&broker.folder, "broker");
            }
        }
        let formats: Vec<Child> = brokers.iter().map(Broker::format).collect();
        for mut format in formats {
            assert!(format.wait().unwrap().success(), "see {}", folder.keep().display());
        }
        Self { brokers, folder }
    }

    /// `host:port`, with commas between them.
    pub fn addresses(&self) -> String {
        self.listeners(0)
    }

    /// The same for who has a password, by SASL's PLAIN.
    pub fn guarded_addresses(&self) -> String {
        self.listeners(1)
    }

    /// The same by SCRAM-SHA-512, over TLS with the certificate of [`Self::certificate`].
    pub fn secured_addresses(&self) -> String {
        format!("localhost:{}", self.brokers[0].ports[3])
    }

    /// A file with the certificate that a client over TLS is to trust.
    pub fn certificate(&self) -> PathBuf {
        self.brokers[0].folder.join("broker.pem")
    }

    /// One broker dies at once.
    pub fn kill(&mut self, at: usize) {
        self.brokers[at].kill();
    }

    /// It comes back on its ports with its data; waits until it is one of the cluster again.
    pub fn start_again(&mut self, at: usize) {
        self.brokers[at].start();
        let up = self.brokers.iter().filter(|broker| broker.process.is_some()).count();
        self.wait_for(up);
    }

    /// Waits until it is there.
    pub fn create_topic(&self, name: &str, partitions: i32, replicas: i32) {
        self.create_topic_with(name, partitions, replicas, &[]);
    }

    /// The same, with properties of its own.
    pub fn create_topic_with(&self, name: &str, partitions: i32, replicas: i32, properties: &[(&str, &str)]) {
        let mut topic = NewTopic::new(name, partitions, TopicReplication::Fixed(replicas));
        for (name, value) in properties {
            topic = topic.set(name, value);
        }
        self.until_ok(&format!("the topic {name}"), |admin, options| {
            let made = block_on(admin.create_topics([&topic], options)).ok()?.into_iter().next()?;
            matches!(made, Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists))).then_some(())
        });
        self.until(&format!("{partitions} partitions of {name}"), |client| {
            let known = client.fetch_metadata(Some(name), Duration::from_secs(1)).ok()?;
            let found = known.topics().iter().find(|topic| topic.name() == name)?.partitions();
            let led = found.iter().filter(|partition| partition.leader() >= 0).count();
            (led == partitions as usize).then_some(())
        });
    }

    /// Waits until the controllers have done so; brokers and clients learn of it soon after.
    pub fn delete_topic(&self, name: &str) {
        self.until_ok(&format!("the end of the topic {name}"), |admin, options| {
            let deleted = block_on(admin.delete_topics(&[name], options)).ok()?.into_iter().next()?;
            matches!(deleted, Ok(_) | Err((_, RDKafkaErrorCode::UnknownTopicOrPartition))).then_some(())
        });
    }

    fn listeners(&self, which: usize) -> String {
        let addresses = self.brokers.iter().map(|broker| format!("127.0.0.1:{}", broker.ports[which]));
        addresses.collect::<Vec<_>>().join(",")
    }

    fn wait_for(&self, count: usize) {
        self.until(&format!("{count} brokers"), |client| {
            let known = client.fetch_metadata(None, Duration::from_secs(1)).ok()?;
            (known.brokers().len() == count).then_some(())
        });
    }

    fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", self.addresses()).set("reconnect.backoff.max.ms", "200");
        config
    }

    fn until_ok(
        &self,
        what: &str,
        mut found: impl FnMut(&AdminClient<DefaultClientContext>, &AdminOptions) -> Option<()>,
    ) {
        let admin = self.client().create().unwrap();
        let options = AdminOptions::new().request_timeout(Some(Duration::from_secs(10)));
        self.wait(what, || found(&admin, &options));
    }

    fn until(&self, what: &str, mut found: impl FnMut(&BaseConsumer) -> Option<()>) {
        let client = self.client().create().unwrap();
        self.wait(what, || found(&client));
    }

    fn wait(&self, what: &str, mut found: impl FnMut() -> Option<()>) {
        let deadline = Instant::now() + PATIENCE;
        while found().is_none() {
            if Instant::now() > deadline {
                let logs = self.brokers.iter().map(|broker| broker.log_tail()).collect::<String>();
                panic!("waited in vain for {what} in {}:\n{logs}", self.folder.path().display());
            }
            thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Broker {
    fn format(&self) -> Child {
        let arguments = ["kafka.tools.StorageTool", "format", "-t", "AAAAAAAAAAAAAAAAAAAAAQ"];
        let mut format = self.java(&arguments);
        format.args(["-c", "server.properties"]);
        if self.secured {
            let user = format!("SCRAM-SHA-512=[name=\"{USER}\",iterations=4096,password=\"{PASSWORD}\"]");
            format.args(["--add-scram", &user]);
        }
        format.spawn().unwrap()
    }

    fn start(&mut self) {
        self.kill();
        self.process = Some(self.java(&["kafka.Kafka", "server.properties"]).spawn().unwrap());
    }

    fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            // It may have ended already.
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    fn java(&self, arguments: &[&str]) -> Command {
        let log = File::options().create(true).append(true).open(self.folder.join("log")).unwrap();
        let mut command = Command::new("java");
        // A broker of a test lives too short for the better compiler to pay.
        command.args(["-Xmx320m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp"]);
        command.arg(jars().join("libs/*")).args(arguments).current_dir(&self.folder);
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        command
    }

    fn log_tail(&self) -> String {
        let log = fs::read_to_string(self.folder.join("log")).unwrap_or_default();
        let lines: Vec<_> = log.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n") + "\n"
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.kill();
    }
}

fn properties(broker: &Broker, at: usize, count: usize, voters: &str) -> String {
    let [open, guarded, controller, secured] = broker.ports;
    let replicas = count.min(3);
    let mut text = format!(
        "process.roles=broker,controller\nnode.id={}\ncontroller.quorum.voters={voters}\n\
         listeners=OPEN://127.0.0.1:{open},GUARDED://127.0.0.1:{guarded},CONTROLLER://127.0.0.1:{controller}\n\
         advertised.listeners=OPEN://127.0.0.1:{open},GUARDED://127.0.0.1:{guarded}\n\
         listener.security.protocol.map=OPEN:PLAINTEXT,GUARDED:SASL_PLAINTEXT,CONTROLLER:PLAINTEXT\n\
         controller.listener.names=CONTROLLER\ninter.broker.listener.name=OPEN\n\
         sasl.enabled.mechanisms=PLAIN\nlistener.name.guarded.plain.sasl.jaas.config=\
         org.apache.kafka.common.security.plain.PlainLoginModule required user_{USER}=\"{PASSWORD}\";\n\
         log.dirs={}\nnum.partitions=8\ndefault.replication.factor={replicas}\nmin.insync.replicas={}\n",
        at + 1,
        broker.folder.join("data").display(),
        replicas.div_ceil(2),
    );
    if broker.secured {
        text = text
            .replace(
                "\nadvertised.listeners=",
                &format!(",SECURED://127.0.0.1:{secured}\nadvertised.listeners="),
            )
            .replace("\nlistener.security", &format!(",SECURED://localhost:{secured}\nlistener.security"))
            .replace("CONTROLLER:PLAINTEXT", "CONTROLLER:PLAINTEXT,SECURED:SASL_SSL");
        text += "listener.name.secured.sasl.enabled.mechanisms=SCRAM-SHA-512\n\
                 listener.name.secured.scram-sha-512.sasl.jaas.config=\
                 org.apache.kafka.common.security.scram.ScramLoginModule required;\n\
                 listener.name.secured.ssl.keystore.type=PEM\n\
                 listener.name.secured.ssl.keystore.location=broker-with-key.pem\n";
    }
    // So soon is a broker that was killed taken for dead.
    text += "broker.session.timeout.ms=3000\nbroker.heartbeat.interval.ms=500\n";
    text += "group.initial.rebalance.delay.ms=0\noffsets.topic.num.partitions=4\n";
    text += "log.cleaner.dedupe.buffer.size=2097152\n";
    for topic in ["offsets.topic", "transaction.state.log", "share.coordinator.state.topic"] {
        writeln!(text, "{topic}.replication.factor={replicas}").unwrap();
    }
    for topic in ["transaction.state.log", "share.coordinator.state.topic"] {
        writeln!(text, "{topic}.min.isr={}", replicas.div_ceil(2)).unwrap();
    }
    text
}

/// `NAME.pem`, a certificate of `localhost` that vouches for itself, and `NAME-with-key.pem`.
pub fn write_certificate(folder: &Path, name: &str) {
    let (key, certificate) = (folder.join(format!("{name}.key")), folder.join(format!("{name}.pem")));
    let mut openssl = Command::new("openssl");
    let kind = "-x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2";
    openssl.arg("req").args(kind.split(' '));
    openssl.args(["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]);
    openssl.arg("-keyout").arg(&key).arg("-out").arg(&certificate);
    let made = openssl.output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let both = fs::read_to_string(key).unwrap() + &fs::read_to_string(certificate).unwrap();
    fs::write(folder.join(format!("{name}-with-key.pem")), both).unwrap();
}

/// Where the jars are; fetched where they are missing.
fn jars() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let executable = std::env::current_exe().unwrap();
        let folder = executable.ancestors().nth(3).unwrap().join("kafka");
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/install-kafka");
        assert!(Command::new(script).arg(&folder).status().unwrap().success(), "Kafka cannot be fetched");
        folder
    })
}

/// All at once, so that they differ.
fn free_ports(count: usize) -> Vec<u16> {
    let listeners: Vec<_> = (0..count).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    listeners.iter().map(|listener| listener.local_addr().unwrap().port()).collect()
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}
