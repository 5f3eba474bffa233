//! Numbers and words in the width of a cell.
//!
//! Pure. Widths are columns of a terminal.

use holdfast_plots::words;
use ratatui::text::Span;

/// Stands where words are cut.
const CUT: char = '…';

/// A whole number in so many columns: its digits where they fit, else three of them and a prefix.
pub(super) fn amount(value: f64, width: usize) -> String {
    let plain = words::number(value.round());
    if plain.len() <= width && !plain.contains('e') {
        return plain;
    }
    let mut size = value;
    for prefix in ["k", "M", "G", "T", "P", "E"] {
        size /= 1_000.0;
        if size.abs() < 999.5 || prefix == "E" {
            let decimals = if size.abs() < 99.95 { 1 } else { 0 };
            return format!("{size:.decimals$}{prefix}");
        }
    }
    plain
}

/// Something by the second; small rates have a decimal, so that the last few are seen.
pub(super) fn rate(value: Option<f64>, width: usize) -> String {
    match value {
        None => words::NONE.into(),
        Some(value) if value > 0.0 && value < 9.95 => format!("{value:.1}"),
        Some(value) => amount(value, width),
    }
}

/// Times in ms.
pub(super) fn milliseconds(value: Option<f64>) -> String {
    value.map_or(words::NONE.into(), |ms| words::time(ms * 1e3))
}

/// A share of one.
pub(super) fn percent(share: Option<f64>) -> String {
    match share {
        None => words::NONE.into(),
        Some(share) if share < 0.9995 => format!("{:.1} %", share * 100.0),
        Some(share) => format!("{} %", amount(share * 100.0, 6)),
    }
}

/// Columns that words take.
pub(super) fn width(text: &str) -> usize {
    Span::raw(text).width()
}

/// Words in exactly so many columns, cut or filled up.
pub(super) fn fit(text: &str, columns: usize, right: bool) -> String {
    let cut = shorten(text, columns);
    let gap = " ".repeat(columns.saturating_sub(width(&cut)));
    if right { gap + &cut } else { cut + &gap }
}

/// Words in at most so many columns.
pub(super) fn shorten(text: &str, columns: usize) -> String {
    if width(text) <= columns {
        return text.to_owned();
    }
    let mut short = String::new();
    for c in text.chars() {
        short.push(c);
        if width(&short) > columns.saturating_sub(1) {
            short.pop();
            break;
        }
    }
    if columns > 0 {
        short.push(CUT);
    }
    short
}

/// Items, two blanks apart, in lines of so many columns. One that is longer than a line is cut.
pub(super) fn lines_of(items: &[String], columns: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for item in items {
        let item = shorten(item, columns);
        match lines.last_mut().filter(|line| width(line) + 2 + width(&item) <= columns) {
            Some(line) => {
                line.push_str("  ");
                line.push_str(&item);
            }
            None => lines.push(item),
        }
    }
    lines
}

/// A sentence in lines of so many columns, broken between words.
pub(super) fn wrapped(sentence: &str, columns: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in sentence.split_whitespace() {
        let word = shorten(word, columns);
        match lines.last_mut().filter(|line| width(line) + 1 + width(&word) <= columns) {
            Some(line) => {
                line.push(' ');
                line.push_str(&word);
            }
            None => lines.push(word),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_fits_its_cell() {
        let cases = [
            (0.0, 7, "0"),
            (999.6, 7, "1,000"),
            (1_234_567.0, 9, "1,234,567"),
            (1_234_567.0, 7, "1.2M"),
            (123_456_789.0, 7, "123M"),
            (u64::MAX as f64, 11, "18.4E"),
            (1e30, 11, "1000000000000E"),
        ];
        for (value, width, words) in cases {
            assert_eq!(amount(value, width), words, "{value} in {width}");
        }
        assert_eq!(
            [rate(None, 7), rate(Some(0.0), 7), rate(Some(0.42), 7), rate(Some(12.6), 7)],
            ["-", "0", "0.4", "13"]
        );
        assert_eq!(
            [percent(None), percent(Some(0.4123)), percent(Some(1.0)), percent(Some(7e9))],
            ["-", "41.2 %", "100 %", "700G %"]
        );
    }

    #[test]
    fn words_fit_their_columns() {
        assert_eq!(fit("abc", 5, false), "abc  ");
        assert_eq!(fit("abc", 5, true), "  abc");
        assert_eq!(fit("abcdef", 4, false), "abc…");
        // A character of two columns is not halved.
        assert_eq!(fit("日本語", 4, false), "日… ");
        assert_eq!([shorten("abc", 1), shorten("abc", 0)], ["…", ""]);
        assert_eq!(lines_of(&["aa".into(), "bb".into(), "cccccccc".into()], 6), ["aa  bb", "ccccc…"]);
        assert_eq!(wrapped("one two  three", 7), ["one two", "three"]);
    }
}
