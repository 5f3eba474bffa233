//! The clients of a run: threads of workers, told what to do and asked what they counted.

use crate::{
    clock::Run,
    plan::{Habits, Settings},
    worker::{
        Command, Cut, Wave, Worker,
        tally::{Receipt, Tally},
    },
};
use mio::Waker;
use std::{
    io,
    sync::{Arc, mpsc},
    thread::JoinHandle,
    time::{Duration, Instant},
};

/// Between two looks at what was counted.
const LOOK: Duration = Duration::from_millis(20);

/// Clients of one node. Their sockets are closed when it goes out of scope.
pub struct Fleet {
    workers: Vec<Handle>,
    run: Run,
    receipts: Vec<Receipt>,
}

struct Handle {
    commands: mpsc::Sender<Command>,
    waker: Waker,
    thread: Option<JoinHandle<()>>,
}

impl Fleet {
    /// Starts the threads; nobody connects yet.
    ///
    /// # Errors
    /// When there is no thread or no descriptor for them.
    pub fn start(mut settings: Settings, run: Run) -> io::Result<Self> {
        settings.threads = settings.threads.max(1);
        let settings = Arc::new(settings);
        let begin = |index: usize| {
            let (commands, taken) = mpsc::channel();
            let (worker, waker) = Worker::new(settings.clone(), run, index as u32, taken)?;
            let thread = std::thread::Builder::new().name(format!("load-{index}")).spawn(|| worker.work())?;
            Ok(Handle { commands, waker, thread: Some(thread) })
        };
        let workers = (0..settings.threads).map(begin).collect::<io::Result<_>>()?;
        Ok(Self { workers, run, receipts: Vec::new() })
    }

    /// Has clients connect, from now on, at the wave's rate: each has its intended start, from which its times count.
    pub fn open(&self, wave: Wave) {
        let begin_us = self.run.now_us();
        self.tell(|| Command::Open(wave, begin_us));
    }

    /// Everyone leaves at a random moment of this time, and nobody comes back.
    pub fn leave(&self, within: Duration) {
        self.tell(|| Command::Leave(within));
    }

    /// Cuts a share of the open connections, 0 to 1, drawn by chance.
    pub fn cut(&self, share: f64, how: Cut) {
        self.tell(|| Command::Cut { share, how });
    }

    /// Resets the sockets of clients that have vanished.
    pub fn bury(&self) {
        self.tell(|| Command::Bury);
    }

    /// Stops reading from a share of the open connections, 0 to 1: those of [`crate::is_chosen`].
    pub fn stall(&self, share: f64) {
        self.tell(|| Command::Stall { share });
    }

    /// Has everybody come and go in another way from now on.
    pub fn adjust(&self, habits: Habits) {
        self.tell(|| Command::Adjust(habits));
    }

    /// Whether clients are in other processes.
    pub fn is_afar(&self) -> bool {
        false
    }

    pub fn losses(&self) -> Vec<String> {
        Vec::new()
    }
    pub fn agents(&self) -> Vec<String> {
        Vec::new()
    }
    pub fn clock_error_us(&self) -> u64 {
        0
    }
    pub fn threads(&self) -> u32 {
        self.workers.len() as u32
    }

    /// Reads on from all.
    pub fn resume(&self) {
        self.tell(|| Command::Resume);
    }

    /// What was counted so far. What came for single clients is kept for [`Self::take_receipts`].
    ///
    /// # Panics
    /// When a worker has panicked.
    pub fn tally(&mut self) -> Tally {
        let (sender, answers) = mpsc::channel();
        self.tell(|| Command::Report(sender.clone()));
        let mut sum = Tally::default();
        for _ in &self.workers {
            sum.add(answers.recv_timeout(Duration::from_secs(60)).expect("a worker answers"));
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
            std::thread::sleep(LOOK);
        }
    }

    /// What came for single clients since this was asked last.
    pub fn take_receipts(&mut self) -> Vec<Receipt> {
        std::mem::take(&mut self.receipts)
    }

    fn tell(&self, command: impl Fn() -> Command) {
        for worker in &self.workers {
            // A worker that has panicked is noticed when it is asked.
            let _ = worker.commands.send(command());
            let _ = worker.waker.wake();
        }
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        self.tell(|| Command::Stop);
        for worker in &mut self.workers {
            if let Some(thread) = worker.thread.take() {
                // Its panic was printed.
                let _ = thread.join();
            }
        }
    }
}

#[cfg(test)]
mod tests;
