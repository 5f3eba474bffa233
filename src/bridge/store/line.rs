//! One connection to one server: made, tried, spoken to with deadlines. The only I/O of the store.
//!
//! Owns the socket, the scripts' digests on that server, and an estimate of its clock. Never makes itself anew: who uses
//! it drops it at the first fault, because what would be read next may belong to another request.
//!
//! The registry's clock: `TIME` is asked for at times, and the monotonic clock goes on from there. As it counts from when
//! the question was sent, what it says is never earlier than the registry's own time then was, and later by at most a
//! round trip.

use super::{
    Address, Login,
    script::{Digests, SOURCES},
    seam::Cause,
};
use crate::clock::Clock;
use redis::{
    Client, Connection, ConnectionAddr, IntoConnectionInfo, RedisConnectionInfo, RedisError, RedisResult,
    TlsCertificates, Value, io::tcp::TcpSettings,
};
use std::{path::PathBuf, time::Duration};

/// How far a socket's read time-out may be off before it is set again: one system call for many replies.
const PATIENCE_SLACK_US: u64 = 50_000;

/// How to get to servers, but for which.
#[derive(Clone, Debug)]
pub(super) struct Access {
    /// A password from a file is read again for each connection.
    pub login: Login,
    pub tls: bool,
    /// Certificates to trust in place of the host's, PEM. Read again for each connection.
    pub ca_file: Option<PathBuf>,
    pub database: u32,
    pub timeout: Duration,
}

impl Access {
    /// Makes a connection.
    ///
    /// # Errors
    /// A text for the log.
    pub(super) fn dial(&self, address: &Address) -> Result<Connection, String> {
        let dial = || -> RedisResult<Connection> {
            let (host, port) = (address.host.clone(), address.port);
            let to = if self.tls {
                ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None }
            } else {
                ConnectionAddr::Tcp(host, port)
            };
            let mut who =
                RedisConnectionInfo::default().set_skip_set_lib_name().set_db(i64::from(self.database));
            if let Some(user) = &self.login.user {
                who = who.set_username(user);
            }
            if let Some(mut password) = self.login.password.clone() {
                // A file that cannot be read leaves the password as it was at the start.
                let _ = password.reload();
                who = who.set_password(password.reveal());
            }
            let info = to
                .into_connection_info()?
                .set_redis_settings(who)
                .set_tcp_settings(TcpSettings::default().set_nodelay(true));
            let client = match (&self.ca_file, self.tls) {
                (Some(file), true) => {
                    let root_cert = Some(std::fs::read(file)?);
                    Client::build_with_tls(info, TlsCertificates { client_tls: None, root_cert })?
                }
                _ => Client::open(info)?,
            };
            let connection = client.get_connection_with_timeout(self.timeout)?;
            connection.set_write_timeout(Some(self.timeout))?;
            connection.set_read_timeout(Some(self.timeout))?;
            Ok(connection)
        };
        dial().map_err(|error| error.to_string())
    }
}

/// Whose data a server has: another process or another history is another identity.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Identity {
    run: String,
    replication: String,
}

/// See the module.
pub(super) struct Line {
    connection: Connection,
    clock: Clock,
    /// The read time-out that the socket has, µs.
    patience_us: u64,
    /// The registry's time, ms, when the monotonic clock was the second, µs.
    time: (u64, u64),
    pub digests: Digests,
    pub identity: Identity,
}

impl Line {
    /// Connects, checks that a master answers, and loads the scripts.
    ///
    /// # Errors
    /// A text for the log.
    pub(super) fn open(access: &Access, address: &Address, clock: Clock) -> Result<Self, String> {
        let connection = access.dial(address)?;
        let patience_us = access.timeout.as_micros() as u64;
        let identity = Identity { run: String::new(), replication: String::new() };
        let mut line =
            Self { connection, clock, patience_us, time: (0, 0), digests: Digests::default(), identity };
        let deadline_us = clock.micros() + patience_us;
        line.prepare(deadline_us).map_err(|cause| match cause {
            Cause::Broken(text) => text,
            Cause::Demoted => "it is a replica".to_owned(),
            Cause::Timeout => "it does not answer".to_owned(),
            Cause::Misattributed => "it answers what was not asked".to_owned(),
        })?;
        Ok(line)
    }

    fn prepare(&mut self, deadline_us: u64) -> Result<(), Cause> {
        let mut questions = Vec::new();
        for section in ["replication", "server"] {
            questions.extend(redis::cmd("INFO").arg(section).get_packed_command());
        }
        self.send(&questions)?;
        let (replication, server) = (self.receive_text(deadline_us)?, self.receive_text(deadline_us)?);
        let field = |text: &str, name: &str| {
            let mut lines = text.lines();
            let value = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            value.map(|value| value.trim_end().to_owned())
        };
        if field(&replication, "role").as_deref() != Some("master") {
            return Err(Cause::Demoted);
        }
        let missing = || Cause::Broken("INFO does not name the run or the replication".to_owned());
        self.identity = Identity {
            run: field(&server, "run_id").ok_or_else(missing)?,
            replication: field(&replication, "master_replid").ok_or_else(missing)?,
        };
        self.load_scripts(deadline_us)?;
        self.read_time(deadline_us)
    }

    /// Loads the scripts, again when the server has forgotten them.
    pub(super) fn load_scripts(&mut self, deadline_us: u64) -> Result<(), Cause> {
        let mut questions = Vec::new();
        for source in SOURCES {
            questions.extend(redis::cmd("SCRIPT").arg("LOAD").arg(source).get_packed_command());
        }
        self.send(&questions)?;
        for at in 0..SOURCES.len() {
            let digest = self.receive_text(deadline_us)?;
            if digest.len() != 40 {
                return Err(Cause::Misattributed);
            }
            self.digests[at] = digest;
        }
        Ok(())
    }

    fn receive_text(&mut self, deadline_us: u64) -> Result<String, Cause> {
        match self.receive(deadline_us)? {
            Value::BulkString(bytes) => String::from_utf8(bytes).map_err(|_| Cause::Misattributed),
            Value::SimpleString(text) => Ok(text),
            Value::ServerError(error) => Err(Cause::Broken(error.to_string())),
            _ => Err(Cause::Misattributed),
        }
    }

    /// Asks for the registry's time.
    pub(super) fn read_time(&mut self, deadline_us: u64) -> Result<(), Cause> {
        let asked_us = self.clock.micros();
        self.send(TIME)?;
        self.receive_time(asked_us, deadline_us)
    }

    /// Receives the answer to [`TIME`].
    pub(super) fn receive_time(&mut self, asked_us: u64, deadline_us: u64) -> Result<(), Cause> {
        let answer = self.receive(deadline_us)?;
        if let Value::ServerError(error) = answer {
            return Err(Cause::Broken(error.to_string()));
        }
        let number = |value: &Value| match value {
            Value::BulkString(digits) => std::str::from_utf8(digits).ok()?.parse::<u64>().ok(),
            _ => None,
        };
        let Value::Array(parts) = &answer else { return Err(Cause::Misattributed) };
        let [seconds, micros] = parts.as_slice() else { return Err(Cause::Misattributed) };
        let (Some(seconds), Some(micros)) = (number(seconds), number(micros)) else {
            return Err(Cause::Misattributed);
        };
        self.time = (seconds.saturating_mul(1000).saturating_add(micros / 1000), asked_us);
        Ok(())
    }

    /// When the registry's time was last asked for, µs.
    pub(super) fn time_read_us(&self) -> u64 {
        self.time.1
    }

    /// The registry's time, ms: see the module.
    pub(super) fn registry_ms(&self, now_us: u64) -> u64 {
        let (time_ms, at_us) = self.time;
        // One more for what was cut off.
        time_ms.saturating_add(now_us.saturating_sub(at_us) / 1000 + 1)
    }

    /// Sends whole commands.
    pub(super) fn send(&mut self, commands: &[u8]) -> Result<(), Cause> {
        self.connection.send_packed_command(commands).map_err(cause)
    }

    /// Receives one reply; a refusal by the server is a reply as well.
    pub(super) fn receive(&mut self, deadline_us: u64) -> Result<Value, Cause> {
        let left_us = deadline_us.saturating_sub(self.clock.micros());
        if left_us == 0 {
            return Err(Cause::Timeout);
        }
        if self.patience_us.abs_diff(left_us) > PATIENCE_SLACK_US {
            self.connection.set_read_timeout(Some(Duration::from_micros(left_us))).map_err(cause)?;
            self.patience_us = left_us;
        }
        self.connection.recv_response().map_err(cause)
    }
}

/// Asks for the registry's time.
pub(super) const TIME: &[u8] = b"*1\r\n$4\r\nTIME\r\n";
/// Lets the next command through to a slot that is on its way to this server.
pub(super) const ASKING: &[u8] = b"*1\r\n$6\r\nASKING\r\n";

fn cause(error: RedisError) -> Cause {
    if error.is_timeout() { Cause::Timeout } else { Cause::Broken(error.to_string()) }
}
