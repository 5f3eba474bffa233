//! Where the clients of a run are to be: how many processes, on which machines, from which addresses.

use super::{Fleet, Member, far::Far, threads::Threads};
use crate::{
    clock::Run,
    plan::{self, Settings, Share},
    room::{Need, Room, grouped},
    wire::Begin,
};
use std::{
    ffi::OsString,
    fmt,
    net::{IpAddr, SocketAddr, TcpListener},
    str::FromStr,
};

/// Most agents of a run.
const AGENTS_MAX: usize = 1_000;
/// Most threads of a process.
const THREADS_MAX: u32 = 1_024;

/// Where the clients of a run are to be.
#[derive(Clone, Default, Debug)]
pub struct Layout {
    /// Threads of each process.
    pub threads: usize,
    /// Processes on each machine; 0: as many as descriptors need. Where one suffices on this machine, it is this one.
    pub processes: usize,
    /// The machines; none: this one. With agents this one has no clients.
    pub agents: Vec<AgentAddress>,
    /// The agents' token.
    pub token: Option<String>,
    /// How many clients there will be at most.
    pub connections: u32,
    /// What starts a worker process ([`super::work_for_parent`]); none: `loadtest worker` of this program. Agents have
    /// their own.
    pub worker_command: Vec<OsString>,
}

/// `HOST:PORT` of an agent, as in `10.0.0.9:7070`, `load-3:7070` or `[fd00::9]:7070`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AgentAddress(String);

impl AgentAddress {
    /// As it was given.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for AgentAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let is_host = |host: &str| match host.strip_prefix('[') {
            Some(rest) => rest.strip_suffix(']').is_some_and(|ip| ip.parse::<std::net::Ipv6Addr>().is_ok()),
            None => {
                !host.is_empty()
                    && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
            }
        };
        let parts = text.rsplit_once(':');
        let fits =
            parts.is_some_and(|(host, port)| is_host(host) && port.parse::<u16>().is_ok_and(|port| port > 0));
        fits.then(|| Self(text.to_owned()))
            .ok_or_else(|| format!("{text:?} is no HOST:PORT of an agent, such as 10.0.0.9:7070"))
    }
}

impl fmt::Display for AgentAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Fleet {
    /// Starts whatever the layout needs; nobody connects yet. `settings.threads` is not looked at, and `settings.sources`
    /// may name addresses of several machines: each takes its own.
    ///
    /// # Errors
    /// When the clients do not fit, or a process or agent cannot begin: what is in the way, and the remedy.
    pub fn launch(mut settings: Settings, run: Run, layout: &Layout) -> Result<Self, String> {
        let threads = layout.threads.clamp(1, THREADS_MAX as usize) as u32;
        let need = Need {
            connections: layout.connections,
            processes: layout.processes.try_into().unwrap_or(u32::MAX),
            threads,
            both_ends: false,
        };
        if !layout.agents.is_empty() {
            return on_agents(settings, run, layout, need);
        }
        let processes = fit_here(&settings, need)?;
        settings.threads = (processes * threads) as usize;
        let share = Share { first: 0, threads: processes * threads };
        settings.here = Some(share);
        let sources = std::mem::take(&mut settings.sources);
        settings.sources = plan::plan_sources(layout.connections, &settings.targets, sources)?;
        let begin = begin(settings, run, share, processes, layout.connections);
        assemble(begin, run, &worker_command(&layout.worker_command)?)
    }
}

/// Has this machine's part of a run that another coordinates.
pub fn for_coordinator(mut begin: Begin, run: Run, command: &[OsString]) -> Result<Fleet, String> {
    let threads = begin.share.threads / begin.processes.max(1);
    let need = Need { connections: begin.connections, processes: begin.processes, threads, both_ends: false };
    begin.processes = fit_here(&begin.settings, need)?;
    begin.settings.here = Some(begin.share);
    let given = std::mem::take(&mut begin.settings.sources);
    let named = given.len();
    let own: Vec<IpAddr> = given.into_iter().filter(|source| is_ours(*source)).collect();
    if named > 0 && own.is_empty() {
        return Err(format!("none of the {named} addresses of --source is of this machine"));
    }
    begin.settings.sources = plan::plan_sources(begin.connections, &begin.settings.targets, own)?;
    assemble(begin, run, command)
}

/// In how many processes they fit on this machine.
fn fit_here(settings: &Settings, need: Need) -> Result<u32, String> {
    let both_ends = settings.targets.iter().any(|target| is_ours(target.ip()));
    Room::read().fit(Need { both_ends, ..need })
}

/// Whether it is an address of this machine: only those can be bound.
fn is_ours(address: IpAddr) -> bool {
    address.is_loopback() || TcpListener::bind(SocketAddr::new(address, 0)).is_ok()
}

/// What starts a worker process: this, or this program.
pub fn worker_command(given: &[OsString]) -> Result<Vec<OsString>, String> {
    if !given.is_empty() {
        return Ok(given.to_vec());
    }
    let program = std::env::current_exe().map_err(|error| format!("cannot find this program: {error}"))?;
    Ok(vec![program.into(), "loadtest".into(), "worker".into()])
}

fn begin(settings: Settings, run: Run, share: Share, processes: u32, connections: u32) -> Begin {
    Begin { run: run.id, epoch_us: 0, settings, share, processes, connections }
}

/// One process: threads of this one. More: worker processes.
pub fn assemble(begin: Begin, run: Run, command: &[OsString]) -> Result<Fleet, String> {
    let Begin { share, processes, connections, .. } = begin;
    let all = begin.settings.threads;
    let in_order = processes > 0
        && share.threads > 0
        && share.threads.is_multiple_of(processes)
        && share.threads / processes <= THREADS_MAX
        && share.first.checked_add(share.threads).is_some_and(|end| end as usize <= all)
        && !begin.settings.targets.is_empty();
    if !in_order {
        return Err(format!(
            "a share that cannot be had: {share:?} of {all} threads in {processes} processes"
        ));
    }
    if processes == 1 {
        plan::raise_descriptors(connections)?;
        let threads = Threads::start(begin.settings, run, share);
        let threads = threads.map_err(|error| format!("cannot start threads: {error}"))?;
        return Ok(Fleet::of(vec![Member::Threads(threads)], run));
    }
    // A socket and a pipe for each.
    plan::raise_descriptors(processes * 2)?;
    let spawn = |number| Far::spawn(number, processes, command);
    let mut workers = (1..=processes).map(spawn).collect::<Result<Vec<_>, _>>()?;
    // Each is heard before the first is asked for its clock: those that are starting would make it late.
    for worker in &mut workers {
        worker.hello()?;
    }
    let threads = share.threads / processes;
    let shares = (0..processes).map(|at| Share { first: share.first + at * threads, threads });
    let each = connections.div_ceil(processes).saturating_add(threads);
    enlist(
        workers,
        shares.map(|share| Begin { share, processes: 1, connections: each, ..begin.clone() }),
        run,
    )
}

fn on_agents(mut settings: Settings, run: Run, layout: &Layout, need: Need) -> Result<Fleet, String> {
    let agents = layout.agents.len();
    if agents > AGENTS_MAX {
        return Err(format!("{agents} agents are too many: at most {AGENTS_MAX}"));
    }
    let token =
        layout.token.as_deref().ok_or("agents want a token: give the one that they were started with")?;
    let connect = |address| Far::connect(address, token);
    let mut members = layout.agents.iter().map(connect).collect::<Result<Vec<_>, _>>()?;
    let each = layout.connections.div_ceil(agents as u32);
    let need = Need { connections: each, ..need };
    // All have as many processes as the one that needs most, so that all threads have as many clients.
    let mut processes = 1;
    for agent in &mut members {
        let room = agent.hello()?;
        let share =
            if agents == 1 { String::new() } else { format!("its share is {}: ", grouped(each.into())) };
        let wanted = room.fit(need).map_err(|why| format!("{}: {share}{why}", agent.name()))?;
        processes = processes.max(wanted);
    }
    let threads = processes * need.threads;
    settings.threads = threads as usize * agents;
    let shares = (0..agents as u32).map(|at| Share { first: at * threads, threads });
    let begins = shares.map(|share| begin(settings.clone(), run, share, processes, each));
    enlist(members, begins, run)
}

/// Compares clocks, tells all what they have, and waits until they have begun.
fn enlist(mut members: Vec<Far>, begins: impl Iterator<Item = Begin>, run: Run) -> Result<Fleet, String> {
    for member in &mut members {
        member.compare_clocks(run)?;
    }
    for (member, begin) in members.iter_mut().zip(begins) {
        member.begin(begin)?;
    }
    for member in &mut members {
        member.ready()?;
    }
    Ok(Fleet::of(members.into_iter().map(|member| Member::Far(Box::new(member))).collect(), run))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_agents_have_a_host_and_a_port() {
        for good in ["10.0.0.9:7070", "load-3.example:1", "[::1]:7070"] {
            assert_eq!(good.parse::<AgentAddress>().unwrap().to_string(), good);
        }
        for bad in [
            "",
            "10.0.0.9",
            "10.0.0.9:",
            ":7070",
            "a:0",
            "a:65536",
            "::1:7070",
            "[::1]",
            "a b:1",
            "http://a:1",
        ] {
            assert!(bad.parse::<AgentAddress>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_share_that_makes_no_sense_is_refused() {
        let run = Run::begin();
        let mut settings = Settings::new("127.0.0.1:1".parse().unwrap());
        settings.threads = 4;
        let table = [(0, 4, 0), (0, 0, 1), (0, 4, 3), (2, 4, 1), (u32::MAX, 4, 1), (0, 5, 1)];
        for (first, threads, processes) in table {
            let begin = begin(settings.clone(), run, Share { first, threads }, processes, 1);
            assert!(assemble(begin, run, &[]).is_err(), "{first} {threads} {processes}");
        }
        settings.targets.clear();
        assert!(assemble(begin(settings, run, Share { first: 0, threads: 4 }, 1, 1), run, &[]).is_err());
    }
}
