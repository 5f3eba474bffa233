//! The Redis of a fleet, and what it holds, read without the server's own code but for the numbers that stand for nodes.

use crate::servers::{Cluster, Sentinels, Server, command, text};
use holdfast::bridge::store::node_number;
use redis::{Connection, from_redis_value};
use std::collections::{BTreeSet, HashMap};

const USERS: &str = "holdfast:u:";
const LEASES: &str = "holdfast:{nodes}";
/// Before the name of a device: what its holder displaced.
const DISPLACED: u8 = 1;

/// Where a fleet's registry is.
pub enum Registry {
    Memory,
    Single(Server),
    Sentinels(Sentinels),
    Cluster(Cluster),
}

/// A lease: the node's name, its run, and whether it leaves.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Lease {
    pub node: String,
    pub incarnation: u64,
    pub draining: bool,
}

/// A device and the name of the node that holds it; users first.
pub type Row = (String, String, String);

impl Registry {
    pub fn single() -> Self {
        Self::Single(Server::start(&[]))
    }

    pub fn url(&self) -> String {
        match self {
            Self::Memory => "memory".to_owned(),
            Self::Single(server) => server.url(),
            Self::Sentinels(sentinels) => sentinels.url(),
            Self::Cluster(cluster) => cluster.url(),
        }
    }

    /// The one server, or the first of several.
    pub fn server(&mut self) -> &mut Server {
        &mut self.servers_mut()[0]
    }

    /// Of several masters the one that holds the leases, or one that does not.
    pub fn master(&mut self, of_leases: bool) -> &mut Server {
        let holds = |server: &Server| {
            let mut connection = redis::Client::open(server.url()).unwrap().get_connection().ok()?;
            let is_master = text(&mut connection, "INFO replication").contains("role:master");
            let leases: redis::RedisResult<i64> = redis::cmd("HLEN").arg(LEASES).query(&mut connection);
            is_master.then_some(leases.is_ok_and(|leases| leases > 0))
        };
        let found = self.servers_mut().iter_mut().find(|server| holds(server) == Some(of_leases));
        found.expect("such a master")
    }

    pub fn servers(&self) -> &[Server] {
        match self {
            Self::Memory => &[],
            Self::Single(server) => std::slice::from_ref(server),
            Self::Sentinels(sentinels) => &sentinels.servers,
            Self::Cluster(cluster) => &cluster.servers,
        }
    }

    pub fn servers_mut(&mut self) -> &mut [Server] {
        match self {
            Self::Memory => &mut [],
            Self::Single(server) => std::slice::from_mut(server),
            Self::Sentinels(sentinels) => &mut sentinels.servers,
            Self::Cluster(cluster) => &mut cluster.servers,
        }
    }

    /// Connections to those that hold keys of their own now.
    pub fn masters(&self) -> Vec<Connection> {
        let open = |server: &Server| redis::Client::open(server.url()).unwrap().get_connection().ok();
        let is_master = |connection: &mut Connection| {
            let info =
                command(connection, "INFO replication").ok().and_then(|info| from_redis_value(info).ok());
            info.is_some_and(|info: String| info.contains("role:master"))
        };
        self.servers().iter().filter_map(open).filter_map(|mut it| is_master(&mut it).then_some(it)).collect()
    }

    /// The leases in it, dead ones too.
    pub fn leases(&self) -> Vec<Lease> {
        let mut leases = Vec::new();
        for mut master in self.masters() {
            // In a Cluster they are with one master, and the others say so.
            let Ok(values) = redis::cmd("HVALS").arg(LEASES).query::<Vec<Vec<u8>>>(&mut master) else {
                continue;
            };
            for value in values {
                let body: serde_json::Value = serde_json::from_slice(&value[25..]).unwrap();
                leases.push(Lease {
                    node: body["node"].as_str().unwrap().to_owned(),
                    incarnation: u64::from_be_bytes(value[1..9].try_into().unwrap()),
                    draining: body["draining"].as_bool().unwrap(),
                });
            }
        }
        leases.sort_by(|a, b| a.node.cmp(&b.node));
        leases
    }

    /// All records of nodes and runs that have a lease, in order. Others are routed to by nobody.
    pub fn rows(&self) -> Vec<Row> {
        let mut rows: Vec<Row> = self.records().into_iter().map(|(row, _)| row).collect();
        rows.sort();
        rows
    }

    /// The formats of these records.
    pub fn formats(&self) -> BTreeSet<u8> {
        self.records().into_iter().map(|(_, format)| format).collect()
    }

    /// These records and their formats.
    fn records(&self) -> Vec<(Row, u8)> {
        let leases = self.leases();
        let by_number: HashMap<(u64, u64), &str> = leases
            .iter()
            .map(|lease| ((node_number(&lease.node), lease.incarnation), lease.node.as_str()))
            .collect();
        let mut records = Vec::new();
        for mut master in self.masters() {
            for key in keys(&mut master, USERS) {
                let record = redis::cmd("HGETALL").arg(&key).query::<Vec<(Vec<u8>, Vec<u8>)>>(&mut master);
                for (device, record) in record.unwrap().into_iter().filter(|(name, _)| name[0] != DISPLACED) {
                    let number = |at: usize| u64::from_be_bytes(record[at..at + 8].try_into().unwrap());
                    if let Some(&node) = by_number.get(&(number(2), number(10))) {
                        let user = key[USERS.len()..].to_owned();
                        let row = (user, String::from_utf8(device).unwrap(), node.to_owned());
                        records.push((row, record[0]));
                    }
                }
            }
        }
        records
    }

    /// Keys that would stay for ever.
    pub fn everlasting_keys(&self) -> Vec<String> {
        let mut found = Vec::new();
        for mut master in self.masters() {
            for key in keys(&mut master, "") {
                let left: i64 = redis::cmd("PTTL").arg(&key).query(&mut master).unwrap();
                // -2: it has ended since.
                if left == -1 {
                    found.push(key);
                }
            }
        }
        found
    }

    /// Whether the whole of it answers to writes.
    pub fn is_whole(&self) -> bool {
        let mut masters = self.masters();
        match self {
            Self::Memory => true,
            Self::Single(_) | Self::Sentinels(_) => masters.len() == 1,
            Self::Cluster(_) => {
                masters.len() >= 3
                    && masters.iter_mut().all(|it| text(it, "CLUSTER INFO").contains("cluster_state:ok"))
            }
        }
    }
}

fn keys(connection: &mut Connection, prefix: &str) -> Vec<String> {
    redis::cmd("KEYS").arg(format!("{prefix}*")).query(connection).unwrap()
}
