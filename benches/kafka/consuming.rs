//! The queue's own I/O without anything above it: each record is read and done. A process of its own.

use crate::{
    cost::{ByThread, Reading},
    outcome::Outcome,
    sending::Hidden,
};
use holdfast::bridge::queue::{Output, Partition, Queue, Request, Settings};
use std::{
    collections::HashMap,
    io::{BufRead, BufReader},
    process::{Child, ChildStdout, Command, Stdio},
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

/// The argument that makes this program the consumer.
pub const COMMAND: &str = "consume";

/// What it has cost.
pub struct Consumed {
    /// Records a second.
    pub rate: f64,
    pub cpu: ByThread,
}

struct Consumer {
    child: Child,
    answers: BufReader<ChildStdout>,
}

impl Drop for Consumer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Consumer {
    fn wait_for(&mut self, word: &str) -> Outcome<()> {
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        if line.trim() == word { Ok(()) } else { Err(format!("the consumer said {line:?}").into()) }
    }
}

/// Shows records to a consumer that waits for them.
pub fn measure(brokers: &str, topic: &str, hidden: Hidden) -> Outcome<Consumed> {
    let (count, program) = (hidden.count, std::env::current_exe()?);
    let mut command = Command::new(program);
    command.args([COMMAND, brokers, topic, &count.to_string()]);
    let mut child = command.stdout(Stdio::piped()).spawn()?;
    let answers = BufReader::new(child.stdout.take().ok_or("no way out")?);
    let mut consumer = Consumer { child, answers };
    consumer.wait_for("assigned")?;
    thread::sleep(Duration::from_secs(1));
    let reading = Reading::of(consumer.child.id())?;
    let began = Instant::now();
    hidden.show()?;
    consumer.wait_for("done")?;
    let rate = count as f64 / began.elapsed().as_secs_f64();
    Ok(Consumed { rate, cpu: reading.since(count)? })
}

/// Outputs come on the queue's own thread.
static QUEUE: OnceLock<Queue> = OnceLock::new();
static READ: AtomicU64 = AtomicU64::new(0);

/// The consumer; it ends by being killed.
pub fn run(brokers: &str, topic: &str, count: &str) -> Outcome<()> {
    let count: u64 = count.parse()?;
    let settings = Settings {
        topics: vec![format!("^{}$", topic.replace('.', "\\."))],
        ..Settings::new(brokers, &format!("{topic}.alone"), "alone")
    };
    let queue = Queue::start(&settings, move |output| hear(output, count))?;
    if QUEUE.set(queue).is_err() {
        return Err("started twice".into());
    }
    loop {
        thread::park();
    }
}

fn hear(output: Output, count: u64) {
    let queue = QUEUE.wait();
    let submit = |request| {
        // Only records to be produced may find no room.
        let _ = queue.submit(request);
    };
    match output {
        Output::Assigned { .. } => println!("assigned"),
        Output::Revoked { revocation, .. } => submit(Request::Released { revocation }),
        Output::Batch { records, .. } => {
            let mut done: HashMap<&Partition, (i64, usize)> = HashMap::new();
            for record in &records {
                let (offset, records) = done.entry(&record.partition).or_default();
                (*offset, *records) = (record.offset, *records + 1);
            }
            for (partition, (offset, records)) in done {
                submit(Request::Finished { partition: partition.clone(), records });
                submit(Request::Done { partition: partition.clone(), offset });
            }
            let read = records.len() as u64;
            let before = READ.fetch_add(read, Relaxed);
            if before < count && before + read >= count {
                println!("done");
            }
        }
        _ => {}
    }
}
