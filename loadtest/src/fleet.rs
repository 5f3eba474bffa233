//! The clients of a run: members that have threads of them, told what to do and asked what they counted.
//!
//! A member is some threads of this process, a worker process of this machine, or an agent on another one, which is a fleet
//! of its own. Client n belongs to thread n mod T, where T counts the threads of all members. A member that is lost is a
//! sentence and a gap in the numbers, never the end of the run.

mod child;
mod far;
mod launch;
mod serve;
mod threads;

use crate::{
    clock::Run,
    plan::{Habits, Settings, Share},
    worker::{
        Command, Cut, Wave,
        tally::{Ending, Receipt, Tally},
    },
};
use far::Far;
pub use launch::{AgentAddress, Layout, worker_command};
pub use serve::{Guest, obey, work_for_parent};
use std::{
    io,
    time::{Duration, Instant},
};
use threads::Threads;

/// Between two looks at what was counted by threads of this process.
const LOOK: Duration = Duration::from_millis(20);
/// The same where other processes must be asked, which takes them and us some of the processors' time.
const FAR_LOOK: Duration = Duration::from_millis(200);
/// How long threads of this process may take to say what they counted.
const THREADS_PATIENCE: Duration = Duration::from_secs(30);
/// Worker processes have longer, so that they can tell of a thread of theirs that does not.
const WORKER_PATIENCE: Duration = Duration::from_secs(60);
/// And agents longer still, for the same reason.
const AGENT_PATIENCE: Duration = Duration::from_secs(90);

/// Clients of one node. Their sockets are closed when it goes out of scope.
pub struct Fleet {
    members: Vec<Member>,
    run: Run,
    receipts: Vec<Receipt>,
    losses: Vec<String>,
}

enum Member {
    Threads(Threads),
    Far(Box<Far>),
}

impl Fleet {
    /// Starts threads of this process; nobody connects yet.
    ///
    /// # Errors
    /// When there is no thread or no descriptor for them.
    pub fn start(mut settings: Settings, run: Run) -> io::Result<Self> {
        settings.threads = settings.threads.max(1);
        let all = Share { first: 0, threads: settings.threads as u32 };
        let threads = Threads::start(settings, run, all)?;
        Ok(Self::of(vec![Member::Threads(threads)], run))
    }

    fn of(members: Vec<Member>, run: Run) -> Self {
        Self { members, run, receipts: Vec::new(), losses: Vec::new() }
    }

    /// Has clients connect, from now on, at the wave's rate: each has its intended start, from which its times count.
    pub fn open(&self, wave: Wave) {
        self.tell(&Command::Open(wave, self.run.now_us()));
    }

    /// Everyone leaves at a random moment of this time, and nobody comes back.
    pub fn leave(&self, within: Duration) {
        self.tell(&Command::Leave(within));
    }

    /// Cuts a share of the open connections, 0 to 1, drawn by chance.
    pub fn cut(&self, share: f64, how: Cut) {
        self.tell(&Command::Cut { share, how });
    }

    /// Resets the sockets of clients that have vanished.
    pub fn bury(&self) {
        self.tell(&Command::Bury);
    }

    /// Stops reading from a share of the open connections, 0 to 1: those of [`crate::is_chosen`].
    pub fn stall(&self, share: f64) {
        self.tell(&Command::Stall { share });
    }

    /// Has everybody come and go in another way from now on.
    pub fn adjust(&self, habits: Habits) {
        self.tell(&Command::Adjust(habits));
    }

    /// Reads on from all.
    pub fn resume(&self) {
        self.tell(&Command::Resume);
    }

    /// What was counted so far. What came for single clients is kept for [`Self::take_receipts`].
    ///
    /// Of a member that is lost ([`Self::losses`]) it has what that said last, with its open connections as ended by their
    /// client.
    pub fn tally(&mut self) -> Tally {
        let asked = Instant::now();
        for member in &mut self.members {
            match member {
                Member::Threads(threads) => threads.ask(),
                Member::Far(far) => far.ask_report(self.run),
            }
        }
        let mut sum = Tally::default();
        for member in &mut self.members {
            sum.add(match member {
                Member::Threads(threads) => threads.answer(asked + THREADS_PATIENCE, &mut self.losses),
                Member::Far(far) if far.is_agent() => {
                    far.answer(asked + AGENT_PATIENCE, self.run, &mut self.losses)
                }
                Member::Far(far) => far.answer(asked + WORKER_PATIENCE, self.run, &mut self.losses),
            });
        }
        self.receipts.append(&mut sum.receipts);
        sum
    }

    /// Waits until what was counted is as wished.
    ///
    /// # Errors
    /// The last counts, when it is not in time.
    pub fn wait(&mut self, within: Duration, wish: impl Fn(&Tally) -> bool) -> Result<Tally, Box<Tally>> {
        let deadline = Instant::now() + within;
        loop {
            let tally = self.tally();
            if wish(&tally) {
                return Ok(tally);
            }
            if Instant::now() >= deadline {
                return Err(Box::new(tally));
            }
            std::thread::sleep(self.look());
        }
    }

    /// What came for single clients since this was asked last.
    pub fn take_receipts(&mut self) -> Vec<Receipt> {
        std::mem::take(&mut self.receipts)
    }

    /// What of the fleet is lost, a sentence each: processes that have crashed, agents that are gone. Known since the tally
    /// that noticed.
    pub fn losses(&self) -> &[String] {
        &self.losses
    }

    /// By how much the clocks of members may differ from ours, us; times between them and us are wrong by as much.
    pub fn clock_error_us(&self) -> u64 {
        let of = |member: &Member| if let Member::Far(far) = member { far.clock_error_us } else { 0 };
        self.members.iter().map(of).max().unwrap_or(0)
    }

    /// How long to wait between two looks at what was counted.
    pub fn look(&self) -> Duration {
        let is_far = self.members.iter().any(|member| matches!(member, Member::Far(_)));
        if is_far { FAR_LOOK } else { LOOK }
    }

    /// The processes that have the clients, by their ids on their machines.
    pub fn pids(&self) -> Vec<u32> {
        let of = |member: &Member| match member {
            Member::Threads(_) => vec![std::process::id()],
            Member::Far(far) => far.pids.clone(),
        };
        self.members.iter().flat_map(of).collect()
    }

    fn tell(&self, command: &Command) {
        for member in &self.members {
            match member {
                Member::Threads(threads) => threads.tell(command),
                Member::Far(far) => far.tell(command),
            }
        }
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        // All at once; then each is waited for.
        for member in &self.members {
            if let Member::Far(far) = member {
                far.release();
            }
        }
    }
}

/// Counts of somebody who is lost: the kernel has closed its sockets, and nothing more will come of it. How many connections
/// were open.
fn mourn(known: &mut Tally) -> u64 {
    let open = std::mem::take(&mut known.open).sum();
    if open > 0 {
        *known.endings.entry(Ending::Aborted).or_default() += open;
    }
    known.buried += std::mem::take(&mut known.vanished);
    (known.in_flight, known.planned, known.away, known.stalled) = (0, 0, 0, 0);
    open
}

#[cfg(test)]
mod tests;
