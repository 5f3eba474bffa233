//! Draws the screen: the fleet in sum, its last minutes, the table of nodes, the selected one, the keys.
//!
//! Colours repeat what words say. What does not fit goes, the least needed first.

use super::{
    App, Column, detail,
    figures::{amount, fit, milliseconds, percent, rate, shorten, width, wrapped},
    help,
    totals::Flow,
};
use crate::ops::fleet::{NodeView, State};
use holdfast_plots::words;
use ratatui::{
    Frame,
    layout::{Constraint, Layout, Rect},
    style::{Color, Modifier, Style},
    text::{Line, Span},
    widgets::{Paragraph, Sparkline},
};
use std::time::Duration;

/// Below this there is only a sentence.
const LEAST: (u16, u16) = (40, 8);
/// The share of its capacity from which a node is full to the eye.
const NEARLY_FULL: f64 = 0.9;
/// Rows of nodes that go before the detail of one.
const ROWS_FIRST: u16 = 8;
/// From this height on both curves are seen.
const TALL: u16 = 17;
/// From these heights on curves are two lines high, and three.
const TALLER: [u16; 2] = [34, 54];
/// Width of what stands before a curve, and behind it.
const CURVE_NAME: u16 = 13;
const CURVE_WORDS: u16 = 25;

pub(super) fn dim() -> Style {
    Style::new().fg(Color::DarkGray)
}

pub(super) fn bold() -> Style {
    Style::new().add_modifier(Modifier::BOLD)
}

impl App {
    /// Draws all of it.
    pub fn draw(&mut self, frame: &mut Frame<'_>) {
        let area = frame.area();
        if area.width < LEAST.0 || area.height < LEAST.1 {
            let words = format!("the terminal is too small: {} by {} at least; q quits", LEAST.0, LEAST.1);
            let lines = wrapped(&words, area.width.into());
            frame.render_widget(Paragraph::new(lines.into_iter().map(Line::from).collect::<Vec<_>>()), area);
            return;
        }
        let header = self.header(area);
        let curves = curve_height(area.height);
        let curve_lines = if area.height >= TALL { 2 * curves } else { curves };
        let above = header.len() as u16 + curve_lines;
        let rest = area.height.saturating_sub(above + 1);
        let detail = self.detail(area.width.into());
        let detail_height = self.detail_height(detail.len() as u16, rest);
        self.detail_seen = detail_height > 0;
        let [top, past, table, below, foot] = Layout::vertical([
            Constraint::Length(header.len() as u16),
            Constraint::Length(curve_lines),
            Constraint::Min(2),
            Constraint::Length(detail_height),
            Constraint::Length(1),
        ])
        .areas(area);
        frame.render_widget(Paragraph::new(header), top);
        self.draw_curves(frame, past, curves);
        self.draw_table(frame, table);
        frame.render_widget(Paragraph::new(detail), below);
        frame.render_widget(Paragraph::new(self.foot(area.width.into())), foot);
        if self.help {
            help::draw(frame, area);
        }
    }

    /// The lines above: as many as the height has room for.
    fn header(&self, area: Rect) -> Vec<Line<'static>> {
        let columns = usize::from(area.width);
        let mut lines = vec![self.title(columns), self.gauge(columns)];
        lines.push(labelled(&self.flows(), columns));
        if area.height >= 12 {
            lines.push(labelled(&[("messages", self.messages())], columns));
        }
        if area.height >= 14 {
            lines.push(labelled(&self.behind(), columns));
        }
        lines
    }

    fn title(&self, columns: usize) -> Line<'static> {
        let totals = &self.totals;
        let of_state = |count: usize, word: &str| (count > 0).then(|| format!("{count} {word}"));
        let states = [(totals.serving, "serving"), (totals.draining, "draining"), (totals.silent, "silent")];
        let states: Vec<String> = states.iter().filter_map(|(count, word)| of_state(*count, word)).collect();
        let (what, style) = match &self.view {
            None => ("asking …".to_owned(), dim()),
            Some(_) if totals.nodes() == totals.silent => {
                (format!("no node answers ({} asked)", words::count(totals.silent as u64)), style_of(None))
            }
            Some(_) => (
                format!("{}: {}", words::several(totals.nodes() as u64, "node"), states.join(", ")),
                Style::new(),
            ),
        };
        let right =
            if self.pause.is_some() { "PAUSED".to_owned() } else { format!("every {:?}", self.every) };
        let room = columns.saturating_sub("holdfast top  ".len() + width(&right) + 1);
        let right_style = if self.pause.is_some() { style_of(Some(true)) } else { dim() };
        Line::from(vec![
            Span::styled("holdfast top  ", bold()),
            Span::styled(fit(&what, room, false), style),
            Span::styled(format!(" {right}"), right_style),
        ])
    }

    /// `connections 1,200 of 3,000  ████░░░░░░  40.0 %`
    fn gauge(&self, columns: usize) -> Line<'static> {
        let totals = &self.totals;
        let [open, capacity] = [totals.connections, totals.capacity].map(|count| amount(count as f64, 15));
        let label = Span::styled("connections ", dim());
        let Some(share) = totals.utilization() else {
            return Line::from(vec![label, Span::styled(open, bold())]);
        };
        let (counts, share_words) =
            (format!("{open} of {capacity}  "), format!("  {}", percent(Some(share))));
        let room = columns.saturating_sub(label.width() + width(&counts) + width(&share_words));
        let full = ((share * room as f64).round() as usize).min(room);
        let colour = if share >= NEARLY_FULL { Color::Red } else { Color::Green };
        Line::from(vec![
            label,
            Span::styled(counts, bold()),
            Span::styled("█".repeat(full), Style::new().fg(colour)),
            Span::styled("░".repeat(room - full), dim()),
            Span::styled(share_words, bold()),
        ])
    }

    fn flows(&self) -> [(&'static str, String); 3] {
        let flow = self.totals.flow.as_ref();
        let by_second = |pick: fn(&Flow) -> f64| format!("{}/s", rate(flow.map(pick), 11));
        [
            ("handshakes", by_second(|flow| flow.opened)),
            ("refused", by_second(|flow| flow.refused)),
            ("closes", by_second(|flow| flow.closed)),
        ]
    }

    fn messages(&self) -> String {
        let Some(flow) = &self.totals.flow else { return format!("{}/s", words::NONE) };
        let mut by: Vec<&(String, f64)> = flow.messages_by.iter().filter(|(_, rate)| *rate > 0.0).collect();
        by.sort_by(|one, other| other.1.total_cmp(&one.1));
        let by: Vec<String> =
            by.iter().map(|(outcome, value)| format!("{outcome} {}", rate(Some(*value), 11))).collect();
        let sum = format!("{}/s", rate(Some(flow.messages), 11));
        if by.is_empty() { sum } else { format!("{sum}: {}", by.join(", ")) }
    }

    fn behind(&self) -> [(&'static str, String); 4] {
        let totals = &self.totals;
        let lag: Vec<String> =
            totals.lag.iter().map(|(lane, lag)| format!("{lane} {}", amount(*lag as f64, 11))).collect();
        let queue = if lag.is_empty() { words::NONE.to_owned() } else { lag.join(", ") };
        [
            ("p99 delivery", milliseconds(totals.delivery_p99_ms)),
            ("loop", milliseconds(totals.loop_lag_p99_ms)),
            ("queued", queue),
            ("memory", words::bytes(totals.resident as f64)),
        ]
    }

    /// The curve of handshakes, which shows a herd, and where there is room that of connections above it.
    fn draw_curves(&self, frame: &mut Frame<'_>, area: Rect, height: u16) {
        let columns = area.width.saturating_sub(CURVE_NAME + CURVE_WORDS);
        let (samples, span) = self.history.within(columns.into());
        let curves = [
            ("connections", Color::Green, samples.iter().map(|sample| Some(sample.connections)).collect()),
            (
                "handshakes/s",
                Color::Yellow,
                samples.iter().map(|sample| sample.handshakes).collect::<Vec<_>>(),
            ),
        ];
        let seen = usize::from(area.height / height.max(1)).min(curves.len());
        for (place, (name, colour, values)) in curves.iter().skip(curves.len() - seen).enumerate() {
            let area = Rect { y: area.y + height * place as u16, height, ..area };
            draw_curve(frame, area, (name, *colour), values, span);
        }
    }

    fn draw_table(&mut self, frame: &mut Frame<'_>, area: Rect) {
        self.shown = columns_for(area.width);
        let rows = self.nodes();
        let longest = rows.iter().map(|node| width(node.name())).max().unwrap_or(0);
        let node_width = node_width(&self.shown, area.width.into(), longest);
        let place = self.place(&rows);
        let room = usize::from(area.height.saturating_sub(1));
        let first = first_row(self.first_row, place.unwrap_or(0), rows.len(), room);
        let mut lines = vec![self.head(node_width)];
        let is_marked = |at: usize| Some(at) == place && self.selected.is_some();
        let seen = rows.iter().enumerate().skip(first).take(room);
        lines.extend(seen.map(|(at, node)| self.row(node, node_width, area.width.into(), is_marked(at))));
        if rows.is_empty() {
            let why = match &self.view {
                None => "waiting for the first answers",
                Some(_) if self.filter.is_empty() => "no node is known",
                Some(_) => "no node matches the filter",
            };
            lines.push(Line::styled(format!(" {why}"), dim()));
        }
        self.first_row = first;
        frame.render_widget(Paragraph::new(lines), area);
    }

    fn head(&self, node_width: usize) -> Line<'static> {
        let mut spans = vec![Span::raw(" ")];
        for column in &self.shown {
            let style = if *column == self.sort { bold().add_modifier(Modifier::UNDERLINED) } else { bold() };
            spans.push(Span::styled(
                fit(column.title(), width_of(*column, node_width), column.is_number()),
                style,
            ));
            spans.push(Span::raw(" "));
        }
        Line::from(spans)
    }

    fn row(&self, node: &NodeView, node_width: usize, columns: usize, marked: bool) -> Line<'static> {
        let mut spans = vec![Span::raw(if marked { ">" } else { " " })];
        let mut used = 1;
        for column in &self.shown {
            // What a silent node does not say makes room for why.
            if let (Some(why), true) = (node.fault(), *column as usize > Column::Full as usize) {
                spans.push(Span::styled(shorten(why, columns.saturating_sub(used)), style_of(None)));
                break;
            }
            let width = width_of(*column, node_width);
            let style = match column {
                Column::State => style_of(state_flag(&node.state)),
                Column::Full if node.utilization().is_some_and(|share| share >= NEARLY_FULL) => {
                    style_of(None)
                }
                _ => Style::new(),
            };
            spans.push(Span::styled(fit(&column.cell(node), width, column.is_number()), style));
            spans.push(Span::raw(" "));
            used += width + 1;
        }
        let line = Line::from(spans);
        if marked { line.style(Style::new().add_modifier(Modifier::REVERSED)) } else { line }
    }

    fn detail(&self, columns: usize) -> Vec<Line<'static>> {
        let rows = self.nodes();
        let node = self.place(&rows).and_then(|at| rows.get(at));
        node.map(|node| detail::lines(node, columns)).unwrap_or_default()
    }

    fn detail_height(&self, lines: u16, rest: u16) -> u16 {
        let rows = 1 + (self.nodes().len() as u16).clamp(1, ROWS_FIRST);
        match self.detail {
            Some(false) => 0,
            Some(true) => lines.min(rest.saturating_sub(rows).max(rest / 2)),
            None if rest.saturating_sub(rows) >= lines.min(5) => lines.min(rest - rows),
            None => 0,
        }
    }

    fn foot(&self, columns: usize) -> Line<'static> {
        if self.typing {
            let words = format!("filter: {}_  (Enter keeps it, Esc drops it)", self.filter);
            return Line::styled(shorten(&words, columns), bold());
        }
        let way = if self.reversed { ", reversed" } else { "" };
        let filter =
            if self.filter.is_empty() { "/ filter".to_owned() } else { format!("/ filter: {}", self.filter) };
        let sort = format!("s sort: {}{way}", self.sort.title().to_lowercase());
        let items = ["q quit", "? help", &sort, &filter, "↑↓ select", "Enter detail", "p pause"];
        let mut line = String::new();
        for item in items {
            let gap = if line.is_empty() { 0 } else { 2 };
            if width(&line) + gap + width(item) > columns {
                break;
            }
            line.push_str(&"  "[..gap]);
            line.push_str(item);
        }
        Line::styled(line, dim())
    }
}

/// Serving, leaving, or nothing to be sure of; also for what deserves a look.
fn style_of(good: Option<bool>) -> Style {
    match good {
        Some(false) => Style::new().fg(Color::Green),
        Some(true) => Style::new().fg(Color::Yellow),
        None => Style::new().fg(Color::Red).add_modifier(Modifier::BOLD),
    }
}

fn state_flag(state: &State) -> Option<bool> {
    match state {
        State::Serving => Some(false),
        State::Draining => Some(true),
        State::Silent(_) => None,
    }
}

/// Labels and values, two blanks apart; what does not fit is cut.
fn labelled(items: &[(&str, String)], columns: usize) -> Line<'static> {
    let mut spans = Vec::new();
    let mut used = 0;
    for (label, value) in items {
        let gap = if used == 0 { "" } else { "  " };
        let value = shorten(value, columns.saturating_sub(used + gap.len() + label.len() + 1));
        if value.is_empty() {
            break;
        }
        used += gap.len() + label.len() + 1 + width(&value);
        spans.push(Span::styled(format!("{gap}{label} "), dim()));
        spans.push(Span::styled(value, bold()));
    }
    Line::from(spans)
}

fn curve_height(height: u16) -> u16 {
    match height {
        0..10 => 0,
        _ => 1 + TALLER.iter().filter(|least| height >= **least).count() as u16,
    }
}

/// A curve with its name before it, and its height and span behind it. The newest is at the right.
fn draw_curve(
    frame: &mut Frame<'_>,
    area: Rect,
    (name, colour): (&str, Color),
    values: &[Option<u64>],
    span: Duration,
) {
    let most = values.iter().flatten().max().copied().unwrap_or(0);
    let words = format!(" most {} in {}", amount(most as f64, 9), short_time(span));
    let widths = [Constraint::Length(CURVE_NAME), Constraint::Fill(1), Constraint::Length(CURVE_WORDS)];
    let [left, middle, right] = Layout::horizontal(widths).areas(area);
    frame.render_widget(Paragraph::new(Line::styled(name.to_owned(), dim())), left);
    frame.render_widget(Paragraph::new(Line::styled(words, dim())), right);
    let missing = usize::from(middle.width).saturating_sub(values.len());
    let values = std::iter::repeat_n(None, missing).chain(values.iter().copied());
    let curve = Sparkline::default().data(values).max(most.max(1)).style(Style::new().fg(colour));
    frame.render_widget(curve, middle);
}

fn short_time(span: Duration) -> String {
    match span.as_secs() {
        seconds @ 0..120 => format!("{seconds} s"),
        seconds => format!("{} min", seconds / 60),
    }
}

/// The columns that a terminal has room for, from left to right.
fn columns_for(width: u16) -> Vec<Column> {
    let mut room = usize::from(width).saturating_sub(1);
    let fitting: Vec<Column> = Column::BY_NEED
        .into_iter()
        .take_while(|column| {
            let needed = column.width() + 1;
            let fits = room >= needed;
            room = room.saturating_sub(needed);
            fits
        })
        .collect();
    Column::ALL.into_iter().filter(|column| fitting.contains(column)).collect()
}

/// The first column takes what the others leave, as far as it needs it.
fn node_width(shown: &[Column], width: usize, longest: usize) -> usize {
    let others: usize =
        shown.iter().filter(|column| **column != Column::Node).map(|column| column.width() + 1).sum();
    let room = width.saturating_sub(others + 2);
    longest.clamp(Column::Node.width(), room.max(Column::Node.width()))
}

fn width_of(column: Column, node_width: usize) -> usize {
    if column == Column::Node { node_width } else { column.width() }
}

/// The first row that is seen, so that the selected one is.
fn first_row(before: usize, selected: usize, rows: usize, room: usize) -> usize {
    let least = (selected + 1).saturating_sub(room);
    before.clamp(least, selected.max(least)).min(rows.saturating_sub(room))
}
