//! The table that is printed, and remarks under it.

use std::fmt;

/// Rows of Markdown.
#[derive(Default)]
pub struct Table {
    rows: Vec<[String; 5]>,
    remarks: Vec<String>,
}

impl Table {
    /// A figure beside its floor; `digits` are those behind the point.
    pub fn ratio(&mut self, figure: &str, floor: f64, ours: f64, digits: usize, budget: &str) {
        let number = |value: f64| format!("{value:.digits$}");
        let ratio = format!("{:.2}", ours / floor);
        self.rows.push([figure.to_owned(), number(floor), number(ours), ratio, budget.to_owned()]);
    }

    /// A figure that has no floor.
    pub fn alone(&mut self, figure: &str, ours: String, budget: &str) {
        self.rows.push([figure.to_owned(), String::new(), ours, String::new(), budget.to_owned()]);
    }

    /// A sentence to be read with the table.
    pub fn remark(&mut self, words: String) {
        self.remarks.push(words);
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "| figure | floor | Holdfast | ratio | budget |\n|---|---:|---:|---:|---|")?;
        for row in &self.rows {
            writeln!(f, "| {} |", row.join(" | "))?;
        }
        for remark in &self.remarks {
            write!(f, "\n{remark}")?;
        }
        Ok(())
    }
}
