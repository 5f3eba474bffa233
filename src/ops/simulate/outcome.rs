//! What a simulation says: figures side by side, sentences, curves. Values only; `text` and `page` have the words.

use serde::Serialize;

/// What came of a scenario.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Outcome {
    /// Its name.
    pub scenario: &'static str,
    /// What was simulated, in a sentence.
    pub about: String,
    /// What it was given: names and values, both in words.
    pub given: Vec<(&'static str, String)>,
    /// What was compared; each has the same figures.
    pub runs: Vec<Run>,
    /// What is to be learnt, in sentences.
    pub says: Vec<String>,
    /// Curves over time.
    pub pictures: Vec<Picture>,
}

/// One of the things compared.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Run {
    /// What it is.
    pub name: String,
    /// Its figures.
    pub figures: Vec<Figure>,
}

/// A figure of a run.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Figure {
    /// What it is.
    pub name: &'static str,
    /// None: it never came to that.
    pub value: Option<f64>,
    /// As `holdfast_plots::words::figure` knows it, or `x` for a multiple and `share` for a share of 1.
    pub unit: &'static str,
}

/// Curves over time.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Picture {
    /// What it shows.
    pub title: &'static str,
    /// How to read it.
    pub about: String,
    /// Of the values.
    pub unit: &'static str,
    /// A value to compare with, and its name.
    pub level: Option<(f64, String)>,
    /// What is drawn.
    pub curves: Vec<Curve>,
}

/// A curve of a picture.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Curve {
    /// What it is of.
    pub name: String,
    /// What is worth saying of it.
    pub remark: String,
    /// Seconds and values.
    pub points: Vec<(f64, f64)>,
}

impl Run {
    /// One without figures.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), figures: Vec::new() }
    }

    /// Adds a figure.
    pub fn figure(mut self, name: &'static str, value: impl Into<Option<f64>>, unit: &'static str) -> Self {
        self.figures.push(Figure { name, value: value.into().filter(|value| value.is_finite()), unit });
        self
    }

    /// The value of a figure.
    pub fn value(&self, name: &str) -> Option<f64> {
        self.figures.iter().find(|figure| figure.name == name)?.value
    }
}

impl Picture {
    /// Only what lies before a time: the rest of a long run is flat.
    pub fn until(mut self, at_s: f64) -> Self {
        for curve in &mut self.curves {
            curve.points.retain(|(at, _)| *at <= at_s);
        }
        self
    }
}

impl Curve {
    /// A curve.
    pub fn new(name: impl Into<String>, remark: String, points: Vec<(f64, f64)>) -> Self {
        Self { name: name.into(), remark, points }
    }
}
