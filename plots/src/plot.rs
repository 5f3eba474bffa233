//! A plot as HTML: the lines are a drawing that stretches with the page, and the words beside them are text of the page, so
//! that they stay as large as the rest on a phone. Colours are the style's, which knows light and dark.

use crate::{
    axis::{Axis, Scale, is_sane},
    thin::Thinned,
    words,
};
use maud::{Markup, html};
use std::fmt::Write;

/// Width and height of the drawing's own coordinates.
const SIZE: (f64, f64) = (1_000.0, 300.0);
/// A part of the run with less of the width than this, in percent, is not named in the plot.
const BAND_NAMED_PERCENT: f64 = 7.0;
/// Words of a tick that stands further right than this are moved left, into the plot.
const LAST: f64 = 0.96;

/// A plot.
pub struct Plot {
    /// What it shows.
    pub title: &'static str,
    /// How to read it, in a sentence; may be empty.
    pub about: String,
    /// From left to right.
    pub x: Axis,
    /// From the bottom up.
    pub y: Axis,
    /// What is drawn.
    pub lines: Vec<Line>,
    /// Parts of the run: from, to, name.
    pub bands: Vec<(f64, f64, String)>,
    /// A value that must be seen beside the lines, with its name.
    pub level: Option<(f64, String)>,
}

/// A line of a plot.
pub struct Line {
    /// What it is of.
    pub name: String,
    /// What is worth saying of it: its most, its slope.
    pub remark: String,
    /// Which of the style's colours.
    pub colour: usize,
    /// How it is drawn, so that colours alone tell nothing apart.
    pub look: Look,
    /// Its points.
    pub drawn: Thinned,
}

/// How a line is drawn.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Look {
    /// As most are.
    Plain,
    /// With gaps.
    Dashed,
    /// Thinner than the plain one of its colour.
    Thin,
}

impl Plot {
    /// The plot; None when there is nothing to draw.
    pub fn render(&self) -> Option<Markup> {
        if self.lines.iter().all(|line| line.drawn.is_empty()) {
            return None;
        }
        let scales = |axis: &Axis| format!("{} {} {} {}", scale(axis.scale), axis.min, axis.max, axis.unit);
        Some(html! {
            figure.plot {
                figcaption { strong { (self.title) } @if !self.about.is_empty() { " " span.dim { (self.about) } } }
                div.legend { @for line in &self.lines { (self.key(line)) } }
                div.field.banded[!self.bands.is_empty()] {
                    div.y { @for (value, words) in self.y.ticks() {
                        span style=(format!("bottom:{:.2}%", self.y.place(value) * 100.0)) { (words::micro(&words)) }
                    } }
                    div.canvas data-x=(scales(&self.x)) data-y=(scales(&self.y)) {
                        @for (at, band) in self.bands.iter().enumerate() { (self.band(at, band)) }
                        (self.drawing())
                        @if let Some((value, name)) = &self.level { @if is_sane(*value) {
                            span.level style=(format!("bottom:{:.2}%", self.y.place(*value) * 100.0)) { (name) }
                        } }
                    }
                    div.x.many[self.x.ticks().len() > 5] { @for (value, words) in self.x.ticks() {
                        span.last[self.x.place(value) > LAST] style=(format!("left:{:.2}%", self.x.place(value) * 100.0)) {
                            (words::micro(&words))
                        }
                    } }
                }
            }
        })
    }

    fn key(&self, line: &Line) -> Markup {
        html! {
            span.key {
                svg.swatch viewBox="0 0 24 8" aria-hidden="true" {
                    path.line.(classes(line)) d="M1 4L23 4" {}
                }
                " " (line.name) @if !line.remark.is_empty() { " " span.dim { (words::micro(&line.remark)) } }
            }
        }
    }

    fn band(&self, at: usize, (from, to, name): &(f64, f64, String)) -> Markup {
        let [left, right] = [from, to].map(|x| self.x.place(*x) * 100.0);
        let width = (right - left).max(0.0);
        html! {
            div.band.odd[at % 2 == 1] style=(format!("left:{left:.2}%;width:{width:.2}%")) title=(name) {
                @if width >= BAND_NAMED_PERCENT { span { (name) } }
            }
        }
    }

    fn drawing(&self) -> Markup {
        let (width, height) = SIZE;
        let mut grid = String::new();
        for (value, _) in self.y.ticks() {
            let y = (1.0 - self.y.place(value)) * height;
            let _ = write!(grid, "M0 {y:.2}L{width} {y:.2}");
        }
        for (value, _) in self.x.ticks() {
            let x = self.x.place(value) * width;
            let _ = write!(grid, "M{x:.2} 0L{x:.2} {height}");
        }
        let level = self.level.as_ref().filter(|(value, _)| is_sane(*value));
        let level = level.map(|(value, _)| (1.0 - self.y.place(*value)) * height);
        html! {
            svg viewBox=(format!("0 0 {width} {height}")) preserveAspectRatio="none" role="img" aria-label=(self.title) {
                path.grid d=(grid) {}
                @if let Some(y) = level { path.limit d=(format!("M0 {y:.2}L{width} {y:.2}")) {} }
                @for line in &self.lines { @if !line.drawn.is_empty() {
                    @if !line.drawn.range.is_empty() {
                        path.range.(classes(line)) d=(self.range(line)) data-range=(line.name) {}
                    }
                    path.line.(classes(line)) d=(self.path(line)) data-name=(line.name) {}
                    path.dots.(classes(line)) d=(self.dots(line)) data-name=(line.name) {}
                } }
            }
        }
    }

    fn path(&self, line: &Line) -> String {
        let mut out = String::new();
        for stretch in line.drawn.line.iter().filter(|stretch| stretch.len() > 1) {
            for (at, point) in stretch.iter().enumerate() {
                let (x, y) = self.spot(*point);
                let _ = write!(out, "{}{x:.2} {y:.2}", if at == 0 { 'M' } else { 'L' });
            }
        }
        out
    }

    /// Points that stand alone: lines of no length, of which round ends make dots.
    fn dots(&self, line: &Line) -> String {
        let mut out = String::new();
        for stretch in line.drawn.line.iter().filter(|stretch| stretch.len() == 1) {
            let (x, y) = self.spot(stretch[0]);
            let _ = write!(out, "M{x:.2} {y:.2}h0");
        }
        out
    }

    /// Areas around the line: along the most, and back along the least.
    fn range(&self, line: &Line) -> String {
        let mut out = String::new();
        for stretch in &line.drawn.range {
            let there = stretch.iter().map(|(x, _, most)| (*x, *most));
            let back = stretch.iter().rev().map(|(x, least, _)| (*x, *least));
            for (at, point) in there.chain(back).enumerate() {
                let (x, y) = self.spot(point);
                let _ = write!(out, "{}{x:.2} {y:.2}", if at == 0 { 'M' } else { 'L' });
            }
            out.push('Z');
        }
        out
    }

    fn spot(&self, (x, y): (f64, f64)) -> (f64, f64) {
        (self.x.place(x) * SIZE.0, (1.0 - self.y.place(y)) * SIZE.1)
    }
}

fn classes(line: &Line) -> String {
    let look = match line.look {
        Look::Plain => "",
        Look::Dashed => " dashed",
        Look::Thin => " thin",
    };
    format!("c{}{look}", line.colour)
}

fn scale(scale: Scale) -> &'static str {
    match scale {
        Scale::Linear => "linear",
        Scale::Time => "time",
        Scale::Log => "log",
        Scale::Percentile => "percentile",
    }
}
