//! Reports as files: JSON whose lines a person can read and `diff` can compare.

use super::model::{FORMAT, Report};
use serde::Deserialize;
use serde_json::{Number, Value};
use std::{fs, io::ErrorKind, path::Path};

/// More is no report: a day's seconds are a hundredth of it.
const FILE_BYTES_MAX: u64 = 1 << 30;
/// What has no list within and is no longer than this is one line.
const LINE_MAX: usize = 100;
/// Digits behind the first of a number that is not whole.
const DIGITS_BEHIND: usize = 8;
/// Whole numbers below this are written without an exponent, exactly.
const WHOLE_MAX: f64 = 1e15;

impl Report {
    /// Reads a report that was written as JSON. Err: a sentence.
    pub fn read(path: &Path) -> Result<Self, String> {
        let named = |why: String| format!("{}: {why}", path.display());
        let size = fs::metadata(path).map_err(|error| named(reading(&error)))?.len();
        if size > FILE_BYTES_MAX {
            return Err(named(format!("{size} bytes are too large for a report")));
        }
        let bytes = fs::read(path).map_err(|error| named(reading(&error)))?;
        let text = String::from_utf8(bytes).map_err(|_| named("is no report: it is not text".into()))?;
        Self::parse(&text).map_err(named)
    }

    /// The same from its text.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.trim_start().starts_with('<') {
            return Err("is a page, not a report as JSON: what --report wrote is wanted".into());
        }
        let value: Value =
            serde_json::from_str(text).map_err(|error| format!("is no report: it is not JSON ({error})"))?;
        let format = value.get("format").and_then(Value::as_u64);
        match format {
            None => Err("is no report of a load test: it has no \"format\"".into()),
            Some(0) => Err("is no report of a load test: its \"format\" is 0".into()),
            Some(later) if later > u64::from(FORMAT) => Err(format!(
                "is of format {later}, and this version reads up to {FORMAT}: read it with the version that wrote it"
            )),
            Some(_) => Report::deserialize(value).map_err(|error| format!("is not a whole report: {error}")),
        }
    }

    /// As JSON. Each column of the series, and each curve, is one line.
    pub fn json(&self) -> Result<String, String> {
        let value =
            serde_json::to_value(self).map_err(|error| format!("cannot write the report: {error}"))?;
        let mut out = String::new();
        print(&value, 0, &mut out);
        out.push('\n');
        Ok(out)
    }
}

fn reading(error: &std::io::Error) -> String {
    match error.kind() {
        ErrorKind::NotFound => "there is no such file".into(),
        _ => format!("cannot be read: {error}"),
    }
}

/// Lists of numbers are a line, however long, and what has no list within is one if it is short.
fn print(value: &Value, depth: usize, out: &mut String) {
    let items: Vec<(String, &Value)> = match value {
        Value::Array(items) => items.iter().map(|item| (String::new(), item)).collect(),
        Value::Object(fields) => {
            fields.iter().map(|(name, field)| (format!("{}: ", Value::from(name.as_str())), field)).collect()
        }
        Value::Number(number) => return out.push_str(&self::number(number)),
        _ => return out.push_str(&value.to_string()),
    };
    let brackets = if value.is_array() { ['[', ']'] } else { ['{', '}'] };
    if value.is_array() && is_of_numbers(value) {
        return out.push_str(&line(brackets, ",", &items));
    }
    if items.iter().all(|(_, item)| !item.is_array() && !item.is_object()) {
        let line = line(brackets, ", ", &items);
        if line.len() <= LINE_MAX {
            return out.push_str(&line);
        }
    }
    block(brackets, &items, depth, out);
}

/// As many digits as anything here is measured with. A day's report is half as large for it.
fn number(number: &Number) -> String {
    let Some(value) = number.as_f64().filter(|_| number.is_f64()) else { return number.to_string() };
    let rounded = format!("{value:.DIGITS_BEHIND$e}").parse::<f64>().unwrap_or(value);
    if rounded.fract() == 0.0 && rounded.abs() < WHOLE_MAX {
        return (rounded as i64).to_string();
    }
    // The largest number there is has become more than a number.
    Number::from_f64(rounded).unwrap_or(number.clone()).to_string()
}

fn line(brackets: [char; 2], between: &str, items: &[(String, &Value)]) -> String {
    let mut out = String::from(brackets[0]);
    for (at, (name, item)) in items.iter().enumerate() {
        out.push_str(if at == 0 { "" } else { between });
        out.push_str(name);
        print(item, 0, &mut out);
    }
    out.push(brackets[1]);
    out
}

fn block(brackets: [char; 2], items: &[(String, &Value)], depth: usize, out: &mut String) {
    let [opening, closing] = brackets;
    out.push(opening);
    for (at, (name, item)) in items.iter().enumerate() {
        out.push_str(if at == 0 { "\n" } else { ",\n" });
        out.extend(std::iter::repeat_n("  ", depth + 1));
        out.push_str(name);
        print(item, depth + 1, out);
    }
    out.push('\n');
    out.extend(std::iter::repeat_n("  ", depth));
    out.push(closing);
}

fn is_of_numbers(value: &Value) -> bool {
    match value {
        Value::Null | Value::Number(_) => true,
        Value::Array(items) => items.iter().all(is_of_numbers),
        _ => false,
    }
}
