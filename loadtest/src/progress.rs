//! What a person sees while a run is under way: a bar where there is a terminal, else a line every few seconds.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::{
    io::{IsTerminal, Write},
    time::{Duration, Instant},
};

/// Between two lines, where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// Where a run is.
#[derive(Clone, Copy, Default, Debug)]
pub struct Where {
    /// Open connections.
    pub open: u64,
    /// Refused and failed ones.
    pub not_opened: u64,
    /// Handshakes in the last second.
    pub opened_per_s: f64,
    /// Messages in the last second.
    pub messages_per_s: f64,
}

/// See the module.
pub struct Progress {
    /// None: it says nothing.
    bar: Option<ProgressBar>,
    is_terminal: bool,
    phase: String,
    begun: Instant,
    takes: Option<Duration>,
    told: Instant,
}

impl Progress {
    /// On standard error; a quiet one says nothing.
    pub fn new(is_quiet: bool) -> Self {
        let is_terminal = std::io::stderr().is_terminal();
        let target = if is_terminal { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let now = Instant::now();
        let bar = (!is_quiet).then(|| ProgressBar::with_draw_target(Some(0), target));
        Self { bar, is_terminal, phase: String::new(), begun: now, takes: None, told: now }
    }

    /// Another part of the run begins, of so many connections, or one that takes so long.
    pub fn begin(&mut self, phase: &str, connections: Option<u64>, takes: Option<Duration>) {
        phase.clone_into(&mut self.phase);
        (self.begun, self.takes) = (Instant::now(), takes);
        let Some(bar) = &self.bar else { return };
        let template = match connections {
            Some(_) => "{prefix} {wide_bar} {pos}/{len} {msg}",
            None => "{prefix} {spinner} {wide_msg}",
        };
        bar.set_style(ProgressStyle::with_template(template).expect("the template is valid"));
        bar.set_length(connections.unwrap_or(0));
        bar.set_position(0);
        bar.set_prefix(phase.to_owned());
        self.say(phase);
    }

    /// A line of its own.
    pub fn say(&mut self, words: &str) {
        self.told = Instant::now();
        match &self.bar {
            None => {}
            // What shows it in a terminal is the bar's own prefix.
            Some(_) if self.is_terminal && words == self.phase => {}
            Some(bar) if self.is_terminal => bar.println(words),
            Some(_) => line(words),
        }
    }

    /// Where it is.
    pub fn at(&mut self, place: Where) {
        let Some(bar) = &self.bar else { return };
        let words = self.words(place);
        if self.is_terminal {
            bar.set_position(place.open);
            bar.set_message(words);
            bar.tick();
        } else if self.told.elapsed() >= LINE_EVERY {
            self.told = Instant::now();
            line(&format!("{}: {} open, {words}", self.phase, place.open));
        }
    }

    /// Nothing more is told.
    pub fn end(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }

    fn words(&self, place: Where) -> String {
        let mut words = format!("{} failed, {:.0}/s", place.not_opened, place.opened_per_s);
        if place.messages_per_s > 0.0 {
            words.push_str(&format!(", {:.0} messages/s", place.messages_per_s));
        }
        let passed = self.begun.elapsed();
        match self.takes {
            Some(takes) if takes > passed => {
                words.push_str(&format!(", {} s left", (takes - passed).as_secs_f64().ceil()));
            }
            _ => words.push_str(&format!(", {} s", passed.as_secs())),
        }
        words
    }
}

fn line(words: &str) {
    // Nobody may be reading.
    let _ = writeln!(std::io::stderr().lock(), "{words}");
}
