//! The far side: does what a coordinator asks, over whatever connection it has, until that ends.

use super::{Fleet, launch};
use crate::{
    clock::Run,
    room::Room,
    wire::{self, Answer, Ask, Begin, FRAME_BYTES_MAX, Packed, VERSION},
    worker::tally::Tally,
};
use std::{
    ffi::OsString,
    fs::File,
    io::{self, ErrorKind, Read, Write},
    os::fd::AsFd,
    time::Duration,
};

/// Receipts of one frame.
const RECEIPTS_PER_FRAME: usize = 100_000;

/// Who is asked.
#[derive(Clone, Copy, Debug)]
pub enum Guest<'a> {
    /// A worker process: its parent has planned everything, and it is one.
    Worker,
    /// An agent: it looks after its own machine, and starts worker processes by this.
    Agent(&'a [OsString]),
}

/// `holdfast loadtest worker`: has clients for the process that has started it, whose end is its own. The exit status.
pub fn work_for_parent() -> i32 {
    let files = io::stdin().as_fd().try_clone_to_owned().map(File::from).and_then(|from| {
        let to = io::stdout().as_fd().try_clone_to_owned().map(File::from)?;
        Ok((from, to))
    });
    let served = files.and_then(|(mut from, mut to)| obey(&mut from, &mut to, Guest::Worker));
    match served {
        Ok(()) => 0,
        Err(error) => {
            eprintln!("the worker process cannot speak with its parent: {error}");
            1
        }
    }
}

/// Obeys a coordinator until it ends the connection, then closes all clients.
///
/// # Errors
/// When the coordinator cannot be understood, or is lost.
pub fn obey(from: &mut impl Read, to: &mut impl Write, guest: Guest<'_>) -> io::Result<()> {
    let clock = Run::begin();
    let mut fleet: Option<Fleet> = None;
    let (mut sent, mut told) = (Tally::default(), 0);
    while let Some(ask) = wire::read(from, FRAME_BYTES_MAX)? {
        match ask {
            Ask::Hello(_) => wire::write(to, &Answer::Hello(VERSION.into(), Room::read()))?,
            Ask::Clock => wire::write(to, &Answer::Clock(clock.now_us()))?,
            Ask::Begin(begin) if fleet.is_none() => {
                let answer = match start(*begin, clock, guest) {
                    Ok(started) => {
                        let answer = Answer::Ready(started.clock_error_us(), started.pids());
                        fleet = Some(started);
                        answer
                    }
                    Err(why) => Answer::Failed(why),
                };
                wire::write(to, &answer)?;
            }
            Ask::Begin(_) => return Err(io::Error::new(ErrorKind::InvalidData, "it has begun already")),
            Ask::Do(command) => fleet.iter().for_each(|fleet| fleet.tell(&command)),
            Ask::Report => {
                let tally = fleet.as_mut().map(Fleet::tally).unwrap_or_default();
                let receipts = fleet.as_mut().map(Fleet::take_receipts).unwrap_or_default();
                for part in receipts.chunks(RECEIPTS_PER_FRAME) {
                    let flat = part.iter().flat_map(|receipt| [receipt.client, receipt.sequence]).collect();
                    wire::write(to, &Answer::Receipts(flat))?;
                }
                let losses = fleet.as_ref().map_or(&[][..], Fleet::losses);
                let news = losses.get(told..).unwrap_or_default().to_vec();
                told = losses.len();
                let packed = Box::new(Packed::of(&mut sent, tally));
                wire::write(to, &Answer::Tally(packed, news, clock.now_us()))?;
            }
        }
    }
    Ok(())
}

fn start(begin: Begin, clock: Run, guest: Guest<'_>) -> Result<Fleet, String> {
    let shift = Duration::from_micros(begin.epoch_us.unsigned_abs());
    let epoch =
        if begin.epoch_us < 0 { clock.epoch.checked_sub(shift) } else { clock.epoch.checked_add(shift) };
    let epoch = epoch.ok_or("the run began before this machine did, or ages from now")?;
    let run = Run { id: begin.run, epoch };
    match guest {
        Guest::Worker => launch::assemble(Begin { processes: 1, ..begin }, run, &[]),
        Guest::Agent(command) => launch::for_coordinator(begin, run, command),
    }
}
