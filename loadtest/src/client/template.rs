//! Texts of a request that differ by client: `/ws?user={user}`.
//!
//! They are read once, and what is wrong with them is said before anybody connects.

use std::io::Write;

/// The placeholders there are.
const KNOWN: &str = "{n} (the client's number) and {user} (its name)";
/// Headers that the protocols themselves write, or that ask for what these clients do not speak.
const RESERVED: [&str; 8] = [
    "upgrade",
    "connection",
    "sec-websocket-key",
    "sec-websocket-version",
    "sec-websocket-extensions",
    "content-length",
    "transfer-encoding",
    "accept-encoding",
];

/// A text with placeholders: `{n}` is the client's number, `{user}` its name, `{{` and `}}` are braces.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Template {
    pieces: Vec<Piece>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Piece {
    Text(String),
    Number,
    User,
}

impl Template {
    /// Reads a text.
    ///
    /// # Errors
    /// The placeholder that is not known or not closed, and those that are known.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (mut pieces, mut plain, mut rest) = (Vec::new(), String::new(), text);
        while let Some(at) = rest.find(['{', '}']) {
            plain.push_str(&rest[..at]);
            let from = &rest[at..];
            if let Some(brace) = ["{{", "}}"].into_iter().find(|brace| from.starts_with(brace)) {
                plain.push_str(&brace[1..]);
                rest = &from[2..];
                continue;
            }
            let closed = from.strip_prefix('{').and_then(|inner| inner.split_once('}'));
            let (name, after) = closed.ok_or_else(|| {
                format!("{text:?} has a brace without its other; a brace itself is written twice")
            })?;
            let piece = match name {
                "n" => Piece::Number,
                "user" => Piece::User,
                _ => {
                    return Err(format!("{text:?} has the placeholder {{{name}}}; there are {KNOWN}"));
                }
            };
            pieces.extend((!plain.is_empty()).then(|| Piece::Text(std::mem::take(&mut plain))));
            pieces.push(piece);
            rest = after;
        }
        plain.push_str(rest);
        pieces.extend((!plain.is_empty()).then_some(Piece::Text(plain)));
        Ok(Self { pieces })
    }

    /// Appends it as it is for client `client`, whose name begins with `prefix`.
    pub fn write(&self, out: &mut Vec<u8>, client: u32, prefix: &str) {
        for piece in &self.pieces {
            // Writing to a Vec can not fail.
            let _ = match piece {
                Piece::Text(text) => out.write_all(text.as_bytes()),
                Piece::Number => write!(out, "{client}"),
                Piece::User => write!(out, "{prefix}{client}"),
            };
        }
    }

    /// Whether one of its own texts has a character that is not wanted.
    fn has(&self, unwanted: impl Fn(char) -> bool) -> bool {
        self.pieces.iter().any(|piece| matches!(piece, Piece::Text(text) if text.contains(&unwanted)))
    }

    /// Whether it begins with this, whoever the client is.
    fn begins_with(&self, text: &str) -> bool {
        matches!(self.pieces.first(), Some(Piece::Text(first)) if first.starts_with(text))
    }
}

/// The parts of a request that are not given by the protocol.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Forms {
    /// The path; None: the protocol's own.
    pub path: Option<Template>,
    /// What follows the path behind a question mark.
    pub query: Option<Template>,
    /// Headers that are sent besides.
    pub headers: Vec<(String, Template)>,
}

impl Forms {
    /// Reads all of them.
    ///
    /// # Errors
    /// Which one cannot be sent, and why.
    pub fn parse(
        path: Option<&str>,
        query: Option<&str>,
        headers: &[(String, String)],
    ) -> Result<Self, String> {
        let blank = |c: char| c.is_ascii_control() || c == ' ' || c == '#' || !c.is_ascii();
        let path = path.map(|text| {
            let path = Template::parse(text).map_err(|words| format!("the path {words}"))?;
            match path.begins_with("/") && !path.has(|c| blank(c) || c == '?') {
                true => Ok(path),
                false => Err(format!(
                    "the path {text:?} does not begin with /, or has a character that must be written as %xx"
                )),
            }
        });
        let query = query.map(|text| {
            let query = Template::parse(text.strip_prefix('?').unwrap_or(text))
                .map_err(|words| format!("the query {words}"))?;
            match query.has(blank) {
                true => Err(format!("the query {text:?} has a character that must be written as %xx")),
                false => Ok(query),
            }
        });
        let headers = headers.iter().map(|(name, value)| {
            let is_token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
            if name.is_empty() || !name.chars().all(is_token) {
                return Err(format!("{name:?} is no name of a header"));
            }
            if RESERVED.iter().any(|reserved| name.eq_ignore_ascii_case(reserved)) {
                return Err(format!("the header {name} is the protocol's own and cannot be set"));
            }
            let value = Template::parse(value).map_err(|words| format!("the header {name}: {words}"))?;
            match value.has(|c| c.is_ascii_control() && c != '\t') {
                true => Err(format!("the header {name} has a control character in its value")),
                false => Ok((name.clone(), value)),
            }
        });
        Ok(Self {
            path: path.transpose()?,
            query: query.transpose()?,
            headers: headers.collect::<Result<_, _>>()?,
        })
    }

    /// Whether a header of this name is among them.
    pub fn names(&self, wanted: &str) -> bool {
        self.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case(wanted))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn written(text: &str) -> String {
        let mut out = Vec::new();
        Template::parse(text).unwrap().write(&mut out, 42, "load-");
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn placeholders_are_filled_in() {
        let table = [
            ("", ""),
            ("/ws", "/ws"),
            ("{n}", "42"),
            ("/{user}/{n}?", "/load-42/42?"),
            ("{{n}} }}{{{n}", "{n} }{42"),
        ];
        for (text, expected) in table {
            assert_eq!(written(text), expected);
        }
    }

    #[test]
    fn what_is_not_known_is_named_with_what_is() {
        let fault = Template::parse("/{id}").unwrap_err();
        assert!(fault.contains("{id}") && fault.contains("{n}") && fault.contains("{user}"), "{fault}");
        for bad in ["{", "a}", "{n", "{}", "{n}}", "{ n }"] {
            assert!(Template::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_cannot_be_sent_is_refused_with_its_name() {
        let path = |text| Forms::parse(Some(text), None, &[]);
        let query = |text| Forms::parse(None, Some(text), &[]);
        let header = |name: &str, value: &str| Forms::parse(None, None, &[(name.into(), value.into())]);
        assert!(
            path("/ws/{n}").is_ok() && query("?a={user}&b").is_ok() && header("Cookie", "u={user}").is_ok()
        );
        let table = [
            (path("ws"), "does not begin with /"),
            (path("/a b"), "%xx"),
            (path("/a?b"), "%xx"),
            (path("/{x}"), "the path"),
            (query("a b"), "%xx"),
            (query("{x}"), "the query"),
            (header("A B", ""), "no name of a header"),
            (header("", ""), "no name of a header"),
            (header("upgrade", "h2c"), "the protocol's own"),
            (header("X", "a\r\nY: b"), "control character"),
            (header("X", "{x}"), "the header X"),
        ];
        for (fault, expected) in table {
            let words = fault.unwrap_err();
            assert!(words.contains(expected), "{words}");
        }
    }

    proptest! {
        #[test]
        fn a_text_with_doubled_braces_is_itself(text in "[a-z{}]{0,20}") {
            prop_assert_eq!(written(&text.replace('{', "{{").replace('}', "}}")), text);
        }
    }
}
