//! Numbers as people type them: `10M`, `250k`, `1.5M`, `1e7`, `10,000,000`, and shares: `0.6`, `60%`.
//!
//! Owns the words for what is wrong with one. Never guesses.

/// The most that is taken: more connections than there are people to hold them.
pub const AMOUNT_MAX: u64 = 1_000_000_000_000;

/// Why a number is none: a sentence that repeats it and says what is allowed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("`{0}` is no number: {1}")]
pub struct BadAmount(String, &'static str);

/// What an amount may look like.
const ALLOWED: &str =
    "write it like 250000, 250k, 1.5M or 1G (k is a thousand, M a million, G a thousand million)";

/// Parses an amount of things, a whole number from nothing up to [`AMOUNT_MAX`].
///
/// # Errors
/// What it should have been.
pub fn parse(text: &str) -> Result<u64, BadAmount> {
    let bad = |why| BadAmount(text.trim().to_owned(), why);
    let plain = text.trim().replace([',', '_'], "");
    let (digits, factor) = match plain.char_indices().next_back() {
        Some((at, 'k' | 'K')) => (&plain[..at], 1e3),
        Some((at, 'M' | 'm')) => (&plain[..at], 1e6),
        Some((at, 'G' | 'g' | 'B' | 'b')) => (&plain[..at], 1e9),
        _ => (plain.as_str(), 1.0),
    };
    let is_number = digits.chars().all(|c| c.is_ascii_digit() || matches!(c, '.' | 'e' | 'E' | '+'));
    let value = digits.parse::<f64>().ok().filter(|value| is_number && value.is_finite());
    let value = value.ok_or_else(|| bad(ALLOWED))? * factor;
    if value > AMOUNT_MAX as f64 {
        return Err(bad("that is more than 1,000 G"));
    }
    // A decimal fraction times a power of ten is off by less than this.
    if (value - value.round()).abs() > 1e-6 * value.max(1.0) {
        return Err(bad("it must be whole"));
    }
    Ok(value.round() as u64)
}

/// The same, but nothing is not enough.
///
/// # Errors
/// What it should have been.
pub fn parse_some(text: &str) -> Result<u64, BadAmount> {
    match parse(text)? {
        0 => Err(BadAmount(text.trim().to_owned(), "there must be at least one")),
        amount => Ok(amount),
    }
}

/// Parses a share above 0 and up to 1: `0.6` or `60%`.
///
/// # Errors
/// What it should have been.
pub fn parse_share(text: &str) -> Result<f64, BadAmount> {
    let text = text.trim();
    let (digits, factor) = text.strip_suffix('%').map_or((text, 1.0), |digits| (digits.trim_end(), 0.01));
    let value = digits.parse::<f64>().ok().map(|value| value * factor);
    match value {
        Some(value) if value > 0.0 && value <= 1.0 => Ok(value),
        Some(_) => Err(BadAmount(text.to_owned(), "a share lies above 0 and at or below 1 (100%)")),
        None => Err(BadAmount(text.to_owned(), "write a share like 0.6 or 60%")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn amounts_are_read_as_people_write_them() {
        let cases = [
            ("0", 0),
            ("7", 7),
            (" 250k ", 250_000),
            ("250K", 250_000),
            ("1.5M", 1_500_000),
            ("10m", 10_000_000),
            ("0.1M", 100_000),
            ("1.001k", 1_001),
            ("1G", 1_000_000_000),
            ("10,000,000", 10_000_000),
            ("10_000", 10_000),
            ("1e7", 10_000_000),
            ("1000G", AMOUNT_MAX),
        ];
        for (text, amount) in cases {
            assert_eq!(parse(text), Ok(amount), "{text}");
        }
    }

    #[test]
    fn what_is_no_amount_is_said() {
        for text in
            ["", "k", "ten", "-5", "1.5", "NaN", "inf", "10MM", "1.0001k", "1001G", "1e400", "0x10", "1 0é"]
        {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.starts_with(&format!("`{}` is no number: ", text.trim())), "{error}");
        }
        assert!(parse("1.5").unwrap_err().to_string().ends_with("it must be whole"));
        assert!(parse_some("0k").unwrap_err().to_string().ends_with("at least one"));
    }

    #[test]
    fn shares_lie_above_nothing_and_up_to_all() {
        assert_eq!(
            [parse_share("0.6"), parse_share("60%"), parse_share("100 %")],
            [Ok(0.6), Ok(0.6), Ok(1.0)]
        );
        for text in ["0", "1.1", "101%", "-1", "NaN", "x", ""] {
            assert!(parse_share(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn nothing_that_is_typed_panics(text in "\\PC{0,12}") {
            let _ = (parse(&text), parse_some(&text), parse_share(&text));
        }

        #[test]
        fn a_number_is_itself(amount in 0..=AMOUNT_MAX) {
            prop_assert_eq!(parse(&amount.to_string()), Ok(amount));
        }
    }
}
