//! One message for each line of standard input, at a rate, with a bar on a terminal and a summary at the end.

use super::{
    super::{DONE, FAILED, complain, print},
    Args, body,
};
use crate::{
    clock::Clock,
    sender::{Counters, Dropped, Message, SendError, Sender, parse_line},
};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use std::{
    io::{BufRead, BufReader},
    os::fd::AsFd,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread::sleep,
    time::Duration,
};

/// So many are told of with their reasons; the rest is only counted.
const TOLD_MAX: u64 = 10;
/// How long a sender without room is left alone.
const PAUSE: Duration = Duration::from_millis(2);
/// How often one may be without room that has nothing on its way: what is told as done frees its room a moment later.
const IDLE_MAX: u32 = 10;
/// How often the bar shows what has become of the last ones.
const LOOK: Duration = Duration::from_millis(200);

/// Sends them all, and waits for what becomes of them. The exit code.
///
/// # Errors
/// When standard input cannot be read.
pub fn send(args: &Args, sender: Sender) -> Result<i32, String> {
    let told = Arc::new(Told { bar: bar(), count: AtomicU64::new(0) });
    let hears = told.clone();
    let sender = sender
        .on_dropped(move |Dropped { message, why }| hears.tell(format_args!("for {}: {why}", message.user)));
    let (mut input, mut line, mut bad) = (BufReader::with_capacity(1 << 16, std::io::stdin()), Vec::new(), 0);
    let (clock, mut number) = (Clock::start(), 0_u64);
    let started_us = clock.micros();
    loop {
        line.clear();
        let read = input.read_until(b'\n', &mut line);
        let bytes = read.map_err(|error| format!("cannot read standard input: {error}"))?;
        if bytes == 0 {
            break;
        }
        told.bar.inc(bytes as u64);
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        if let Some(rate) = args.rate {
            wait_until(&clock, started_us, number as f64 / rate);
        }
        number += 1;
        if let Err(why) = message(args, &line).and_then(|message| push(&sender, message)) {
            bad += 1;
            told.tell(format_args!("message {number}: {why}"));
        }
        show(&told.bar, args, &sender.counters());
    }
    while sender.flush(LOOK) > 0 {
        show(&told.bar, args, &sender.counters());
    }
    told.bar.finish_and_clear();
    told.rest();
    Ok(summary(args, &sender.counters(), bad))
}

fn message(args: &Args, line: &[u8]) -> Result<Message, String> {
    let text = std::str::from_utf8(line).map_err(|_| "the line is not UTF-8")?;
    let mut message = parse_line(text)?;
    if args.content_type.is_some() && !text.starts_with('{') {
        message.body = body(args.content_type.as_deref(), message.body.bytes().to_vec());
    }
    message.device = message.device.or_else(|| args.device.clone());
    message.lane = message.lane.or_else(|| args.lane.clone());
    message.ttl = message.ttl.or(args.ttl);
    message.collapse = message.collapse.or_else(|| args.collapse.clone());
    Ok(message)
}

/// A sender without room slows the reading down. One that is idle, and still has none, never will have.
fn push(sender: &Sender, mut message: Message) -> Result<(), String> {
    let mut idle = 0;
    loop {
        match sender.send(message) {
            Ok(()) => return Ok(()),
            Err(Dropped { message: again, why: SendError::Full }) if idle < IDLE_MAX => message = *again,
            Err(Dropped { why, .. }) => return Err(why.to_string()),
        }
        idle += u32::from(sender.counters().in_flight == 0);
        sleep(PAUSE);
    }
}

/// Each message has its moment, so that a late one does not put off the rest.
fn wait_until(clock: &Clock, started_us: u64, seconds: f64) {
    let since = Duration::from_micros(clock.micros().saturating_sub(started_us));
    let due = Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX);
    if let Some(left) = due.checked_sub(since) {
        sleep(left);
    }
}

/// In bytes where standard input is a file, whose end is known; else it only turns.
fn bar() -> ProgressBar {
    let file = std::io::stdin().as_fd().try_clone_to_owned().map(std::fs::File::from);
    let length = file.and_then(|file| file.metadata()).ok().filter(|it| it.is_file()).map(|it| it.len());
    let (bar, template) = match length {
        Some(length) => (ProgressBar::new(length), "{bar:30} {percent:>3}% {msg} [{elapsed}, {eta} left]"),
        None => (ProgressBar::new_spinner(), "{spinner} {msg} [{elapsed}]"),
    };
    // The templates are fixed, and right.
    bar.with_style(ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()))
}

fn show(bar: &ProgressBar, args: &Args, counters: &Counters) {
    if !bar.is_hidden() {
        bar.set_message(words(args, counters));
    }
}

fn words(args: &Args, Counters { sent, delivered, dropped, .. }: &Counters) -> String {
    format!("sent {sent}, {} {delivered}, dropped {dropped}", taken(args))
}

/// What it is called that somebody has a message.
fn taken(args: &Args) -> &'static str {
    if args.direct { "delivered" } else { "acked" }
}

fn summary(args: &Args, counters: &Counters, bad: u64) -> i32 {
    let code = if counters.dropped == 0 && bad == 0 { DONE } else { FAILED };
    let text = if args.json {
        let Counters { sent, delivered, dropped, .. } = counters;
        json!({"sent": sent, (taken(args)): delivered, "dropped": dropped, "bad": bad}).to_string()
    } else if bad > 0 {
        format!("{}, bad {bad}", words(args, counters))
    } else {
        words(args, counters)
    };
    print(&format!("{text}\n")).max(code)
}

/// What went wrong, on standard error beside the bar.
struct Told {
    bar: ProgressBar,
    count: AtomicU64,
}

impl Told {
    fn tell(&self, what: std::fmt::Arguments<'_>) {
        if self.count.fetch_add(1, Relaxed) < TOLD_MAX {
            self.bar.suspend(|| complain(what));
        }
    }

    fn rest(&self) {
        let more = self.count.load(Relaxed).saturating_sub(TOLD_MAX);
        if more > 0 {
            complain(format_args!("and {more} more"));
        }
    }
}
