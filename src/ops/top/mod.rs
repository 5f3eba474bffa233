//! A live view of a fleet in a terminal, or printed once.
//!
//! [`App`] is pure: views and keys in, a screen out. `terminal` alone touches the terminal; `print` is for who has none.

mod columns;
mod detail;
mod draw;
mod figures;
mod help;
mod print;
mod terminal;
mod totals;

pub use columns::Column;
pub use print::{json, rows};
pub use terminal::run;
pub use totals::{Flow, Totals};

use super::fleet::{NodeView, State, View};
use std::{collections::VecDeque, time::Duration};
use totals::History;

/// The longest filter that can be typed, in characters.
const FILTER_MAX: usize = 60;
/// Rows that a page key moves by.
const PAGE: usize = 10;
/// How long a node that has gone keeps its row.
const GONE_SHOWN: Duration = Duration::from_secs(60);

/// What is on the screen, and what keys have changed about it.
pub struct App {
    every: Duration,
    view: Option<View>,
    /// Nodes that the fleet no longer names, with the moment since when: whoever looks away for a moment should not miss them.
    gone: Vec<(Duration, NodeView)>,
    totals: Totals,
    history: History,
    pause: Option<Pause>,
    sort: Column,
    reversed: bool,
    /// Columns that were on the screen last: those that can be sorted by.
    shown: Vec<Column>,
    filter: String,
    typing: bool,
    /// Name of the selected node, so that it stays selected wherever it goes.
    selected: Option<String>,
    /// The first row of the table that is seen.
    first_row: usize,
    /// None: shown where there is room.
    detail: Option<bool>,
    /// Whether it was on the screen last.
    detail_seen: bool,
    help: bool,
    done: bool,
}

/// What came while the screen stood still.
#[derive(Default)]
struct Pause {
    /// For the history, no more than it holds.
    missed: VecDeque<(Duration, Totals)>,
    newest: Option<View>,
}

/// What a person presses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Key {
    /// A character.
    Char(char),
    /// Arrow up.
    Up,
    /// Arrow down.
    Down,
    /// A page up.
    PageUp,
    /// A page down.
    PageDown,
    /// To the first row.
    Home,
    /// To the last row.
    End,
    /// Enter.
    Enter,
    /// Escape.
    Escape,
    /// Takes a character back.
    Backspace,
    /// Ctrl-C.
    Interrupt,
}

impl App {
    /// An empty screen. Views are said to come this often.
    pub fn new(every: Duration) -> Self {
        Self {
            every,
            view: None,
            gone: Vec::new(),
            totals: Totals::default(),
            history: History::default(),
            pause: None,
            sort: Column::Node,
            reversed: false,
            shown: Column::ALL.to_vec(),
            filter: String::new(),
            typing: false,
            selected: None,
            first_row: 0,
            detail: None,
            detail_seen: false,
            help: false,
            done: false,
        }
    }

    /// Whether the view is to end.
    pub fn is_done(&self) -> bool {
        self.done
    }

    /// A new reading of the fleet.
    pub fn update(&mut self, view: View) {
        let totals = Totals::of(&view);
        match &mut self.pause {
            Some(pause) => {
                if pause.missed.len() == totals::HISTORY_MAX {
                    pause.missed.pop_front();
                }
                pause.missed.push_back((view.at, totals));
                pause.newest = Some(view);
            }
            None => self.take(view, totals),
        }
    }

    fn take(&mut self, view: View, totals: Totals) {
        self.history.push(view.at, &totals);
        self.show(view, totals);
    }

    /// Puts a view on the screen, and keeps the rows of nodes that it does not name any more for a while.
    fn show(&mut self, view: View, totals: Totals) {
        let is_named = |name: &str| view.nodes.iter().any(|node| node.name() == name);
        let before = self.view.take().into_iter().flat_map(|view| view.nodes);
        self.gone.extend(before.map(|node| (view.at, without_counts(node))));
        self.gone
            .retain(|(since, node)| view.at.saturating_sub(*since) < GONE_SHOWN && !is_named(node.name()));
        (self.totals, self.view) = (totals, Some(view));
    }

    /// A key was pressed.
    pub fn key(&mut self, key: Key) {
        match key {
            Key::Interrupt => self.done = true,
            _ if self.help => self.help = false,
            _ if self.typing => self.type_filter(key),
            Key::Char('q') => self.done = true,
            Key::Char('?' | 'h') => self.help = true,
            Key::Char('p' | ' ') => self.pause_or_go_on(),
            Key::Char('s') => self.sort_by_next(1),
            Key::Char('S') => self.sort_by_next(self.shown.len().saturating_sub(1)),
            Key::Char('r') => self.reversed = !self.reversed,
            Key::Char('/') => self.typing = true,
            Key::Char('d') | Key::Enter => self.detail = Some(!self.detail_seen),
            Key::Escape => self.filter.clear(),
            Key::Up | Key::Char('k') => self.select(|at, _| at.saturating_sub(1)),
            Key::Down | Key::Char('j') => self.select(|at, _| at + 1),
            Key::PageUp => self.select(|at, _| at.saturating_sub(PAGE)),
            Key::PageDown => self.select(|at, _| at + PAGE),
            Key::Home => self.select(|_, _| 0),
            Key::End => self.select(|_, rows| rows),
            Key::Char(_) | Key::Backspace => {}
        }
    }

    fn type_filter(&mut self, key: Key) {
        match key {
            Key::Char(c) if self.filter.chars().count() < FILTER_MAX && !c.is_control() => {
                self.filter.push(c)
            }
            Key::Backspace => {
                self.filter.pop();
            }
            Key::Enter => self.typing = false,
            Key::Escape => {
                self.typing = false;
                self.filter.clear();
            }
            _ => {}
        }
    }

    fn pause_or_go_on(&mut self) {
        let Some(pause) = self.pause.take() else {
            self.pause = Some(Pause::default());
            return;
        };
        for (at, totals) in &pause.missed {
            self.history.push(*at, totals);
        }
        if let Some(view) = pause.newest {
            let totals = Totals::of(&view);
            self.show(view, totals);
        }
    }

    fn sort_by_next(&mut self, step: usize) {
        let at = self.shown.iter().position(|column| *column == self.sort).unwrap_or(0);
        if let Some(column) = self.shown.iter().cycle().nth(at + step) {
            (self.sort, self.reversed) = (*column, false);
        }
    }

    /// Moves the selection to where the place and the number of rows lead, at most to the last row.
    fn select(&mut self, to: impl Fn(usize, usize) -> usize) {
        let rows = self.nodes();
        let at = self.place(&rows).map_or(0, |at| to(at, rows.len()));
        let name = rows.get(at.min(rows.len().saturating_sub(1))).map(|node| node.name().to_owned());
        self.selected = name;
    }

    /// Where the selected node stands; the first row when none is selected, or it is gone.
    fn place(&self, rows: &[&NodeView]) -> Option<usize> {
        let selected = self.selected.as_deref();
        let found = rows.iter().position(|node| Some(node.name()) == selected);
        found.or((!rows.is_empty()).then_some(0))
    }

    /// The nodes that the filter lets through, in order.
    fn nodes(&self) -> Vec<&NodeView> {
        let wanted = self.filter.to_lowercase();
        let is_wanted = |node: &&NodeView| {
            [node.name(), &node.address, &node.region, node.state.word(), &node.version]
                .iter()
                .any(|text| text.to_lowercase().contains(&wanted))
        };
        let gone = self.gone.iter().map(|(_, node)| node);
        let all = self.view.iter().flat_map(|view| &view.nodes).chain(gone);
        let mut nodes: Vec<&NodeView> = all.filter(is_wanted).collect();
        nodes.sort_by(|one, other| self.sort.order(one, other, self.reversed));
        nodes
    }
}

/// The row of a node that the fleet no longer names.
fn without_counts(node: NodeView) -> NodeView {
    let why = "gone: it has left, or its lease in the registry has ended".to_owned();
    NodeView { state: State::Silent(why), connections: 0, counts: None, rates: None, ..node }
}

#[cfg(test)]
mod tests;
