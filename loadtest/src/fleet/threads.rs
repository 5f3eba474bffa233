//! Threads of clients in this process.

use crate::{
    clock::Run,
    plan::{Settings, Share},
    room::grouped,
    worker::{Command, Worker, tally::Tally},
};
use mio::Waker;
use std::{
    any::Any,
    fs, io,
    sync::{Arc, mpsc},
    thread::JoinHandle,
    time::Instant,
};

/// Of a tick of `/proc/self/stat`: 100 a second, as Linux has told programs on every machine for long.
const TICK_US: u64 = 10_000;

/// Some of all threads of a fleet. They end when it goes out of scope.
pub struct Threads {
    workers: Vec<Handle>,
}

struct Handle {
    index: u32,
    commands: mpsc::Sender<Command>,
    waker: Waker,
    thread: Option<JoinHandle<()>>,
    asked: Option<mpsc::Receiver<Tally>>,
    /// What it has said last, without receipts.
    known: Tally,
    lost: bool,
}

impl Threads {
    pub fn start(settings: Settings, run: Run, share: Share) -> io::Result<Self> {
        let settings = Arc::new(settings);
        let begin = |index: u32| {
            let (commands, taken) = mpsc::channel();
            let (worker, waker) = Worker::new(settings.clone(), run, index, taken)?;
            let thread = std::thread::Builder::new().name(format!("load-{index}")).spawn(|| worker.work())?;
            let known = Tally::default();
            Ok(Handle { index, commands, waker, thread: Some(thread), asked: None, known, lost: false })
        };
        let workers = (share.first..share.first + share.threads).map(begin).collect::<io::Result<_>>()?;
        Ok(Self { workers })
    }

    pub fn tell(&self, command: &Command) {
        for worker in &self.workers {
            // A worker that has panicked is noticed when it is asked.
            let _ = worker.commands.send(command.clone());
            let _ = worker.waker.wake();
        }
    }

    pub fn ask(&mut self) {
        for worker in self.workers.iter_mut().filter(|worker| !worker.lost) {
            let (sender, answer) = mpsc::channel();
            let _ = worker.commands.send(Command::Report(sender));
            let _ = worker.waker.wake();
            worker.asked = Some(answer);
        }
    }

    /// What they have counted, and what of them is lost since the last time.
    pub fn answer(&mut self, until: Instant, losses: &mut Vec<String>) -> Tally {
        let mut sum = Tally::default();
        for worker in &mut self.workers {
            if let Some(answer) = worker.asked.take() {
                let left = until.saturating_duration_since(Instant::now());
                match answer.recv_timeout(left) {
                    Ok(mut tally) => {
                        sum.receipts.append(&mut tally.receipts);
                        worker.known = tally;
                    }
                    Err(error) => losses.push(worker.lose(error)),
                }
            }
            sum.add(worker.known.clone());
        }
        (sum.cpu_us, sum.rss_bytes) = (used_us(), resident_bytes());
        sum.processes = 1;
        sum
    }
}

impl Handle {
    fn lose(&mut self, error: mpsc::RecvTimeoutError) -> String {
        self.lost = true;
        let clients = grouped(super::mourn(&mut self.known));
        let what = match (error, self.thread.take()) {
            (mpsc::RecvTimeoutError::Disconnected, Some(thread)) => match thread.join() {
                Ok(()) => "has ended".to_owned(),
                Err(words) => format!("has panicked ({})", words_of(&*words)),
            },
            // It cannot be ended from outside, and ends when it hears that nobody tells it anything any more.
            _ => "does not answer any more".to_owned(),
        };
        format!("thread {} of clients {what}: its {clients} clients are gone", self.index)
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.tell(&Command::Stop);
        for worker in &mut self.workers {
            if let Some(thread) = worker.thread.take() {
                // Its panic was printed.
                let _ = thread.join();
            }
        }
    }
}

/// What a panic said.
fn words_of(panic: &(dyn Any + Send)) -> &str {
    let owned = panic.downcast_ref::<String>().map(String::as_str);
    owned.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("without words")
}

/// What this process has used of the processors, us.
fn used_us() -> u64 {
    let text = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The name, in parentheses, may hold anything; user and system time are the 14th and 15th.
    let behind = text.rsplit_once(')').map_or("", |(_, behind)| behind);
    let ticks = behind.split_whitespace().skip(11).take(2).filter_map(|word| word.parse::<u64>().ok());
    ticks.sum::<u64>() * TICK_US
}

/// What this process has of the memory, bytes.
fn resident_bytes() -> u64 {
    let text = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
    kilobytes.unwrap_or(0) * 1_024
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_thread_that_panics_is_told_and_the_others_go_on() {
        let settings = Settings { threads: 2, ..Settings::new("127.0.0.1:1".parse().unwrap()) };
        let mut threads = Threads::start(settings, Run::begin(), Share { first: 0, threads: 2 }).unwrap();
        // The second is another, which does nothing but that.
        let other: JoinHandle<()> = std::thread::spawn(|| panic!("{} is wrong", 7));
        let (commands, _) = mpsc::channel();
        threads.workers[1].thread = Some(other);
        threads.workers[1].commands = commands;
        let mut losses = Vec::new();
        let mut ask = |losses: &mut Vec<String>| {
            threads.ask();
            threads.answer(Instant::now() + Duration::from_secs(20), losses)
        };
        ask(&mut losses);
        let tally = ask(&mut losses);
        assert_eq!((tally.processes, tally.planned), (1, 0));
        assert_eq!(losses.len(), 1, "{losses:?}");
        assert_eq!(losses[0], "thread 1 of clients has panicked (7 is wrong): its 0 clients are gone");
    }

    #[test]
    fn this_process_is_measured() {
        let began = Instant::now();
        while used_us() < 2 * TICK_US && began.elapsed().as_secs() < 30 {
            std::hint::black_box((0..100_000u64).sum::<u64>());
        }
        assert!(used_us() >= 2 * TICK_US);
        assert!(resident_bytes() > 1 << 20);
    }
}
