//! `auth.*`: the kind of `auth.mode`, and the checks of the keys that clients' credentials are judged by.
//!
//! Owns what a file of keys that sign cookies and tickets looks like. Of tokens' keys it knows only whether a file can be one at all: reading them is
//! the authenticators' work.

use super::{
    Auth, AuthMode, ConfigError, Cookie, Jwt, Secret, Tickets,
    check::{Checker, repeated},
    endpoint,
    kind::{Input, Kind, Rejected, quoted},
    words,
};
use std::path::{Path, PathBuf};

/// Most keys of cookies, or of tickets, at a time: each one more is tried for each bad one.
pub const KEYS_MAX: usize = 8;
/// The longest life of a ticket, ms: it lies in a URL, which proxies like to log.
pub const TICKET_TTL_MS_MAX: u64 = 300_000;
/// Shortest of those keys, bytes: the length of the hash (RFC 2104, section 3).
const KEY_BYTES_MIN: usize = 32;
const KEY_BYTES_MAX: usize = 256;
/// Largest file with a set of keys, bytes. Sets carry certificates, too.
const SET_BYTES_MAX: u64 = 1 << 20;

const MODES: [(&str, AuthMode); 4] = [
    ("header", AuthMode::Header),
    ("jwt", AuthMode::Jwt),
    ("cookie", AuthMode::Cookie),
    ("http", AuthMode::Http),
];

/// The kind of `auth.mode`: one way, or several with commas.
pub struct Modes;

impl Kind for Modes {
    type Value = Vec<AuthMode>;

    fn parse(&self, input: &Input) -> Result<Vec<AuthMode>, Rejected> {
        let (Input::Bare(text) | Input::Text(text)) = input else { return Err(Rejected::default()) };
        let mode = |word: &str| MODES.iter().find(|(name, _)| *name == word.trim()).map(|(_, mode)| *mode);
        let modes: Option<Vec<AuthMode>> = text.split(',').map(mode).collect();
        let modes = modes.ok_or_else(Rejected::default)?;
        let refuse = |problem: &str| Rejected { problem: Some(problem.into()), ..Rejected::default() };
        if repeated(modes.iter()).is_some() {
            return Err(refuse("expected each way once"));
        }
        if modes.len() > 1 && modes.contains(&AuthMode::Header) {
            return Err(refuse(
                "\"header\" believes whoever asks, so that no other way would guard anything; expected it alone",
            ));
        }
        Ok(modes)
    }

    fn show(&self, value: &Vec<AuthMode>) -> String {
        let name = |mode: &AuthMode| MODES.iter().find(|(_, one)| one == mode).map_or("", |(name, _)| name);
        quoted(&value.iter().map(name).collect::<Vec<_>>().join(","))
    }

    fn allowed(&self) -> String {
        "\"header\", \"jwt\", \"cookie\", \"http\", or several of the last three with commas, such as \"jwt,cookie\"".into()
    }
}

/// The keys of a text that holds one a line, in its order. Spaces around a key and empty lines do not count.
///
/// # Errors
/// What is wrong and in which line, never with a part of a key.
pub fn signing_keys(text: &str) -> Result<Vec<&str>, String> {
    let mut keys: Vec<&str> = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let key = line.trim_ascii();
        if key.is_empty() {
            continue;
        }
        let refuse = |problem: String| Err(format!("key in line {}: {problem}", at + 1));
        if !(KEY_BYTES_MIN..=KEY_BYTES_MAX).contains(&key.len()) {
            let range = format!("{KEY_BYTES_MIN} to {KEY_BYTES_MAX}");
            return refuse(format!("it has {} bytes, not {range}", key.len()));
        }
        if key.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return refuse("it has a space or a control character within".into());
        }
        // A public key is no secret: whoever knows it could sign.
        if key.starts_with("-----BEGIN") {
            return refuse("it is a PEM file, not a key".into());
        }
        if keys.contains(&key) {
            return refuse("it is there already".into());
        }
        keys.push(key);
    }
    match keys.len() {
        0 => Err("there is no key".into()),
        1..=KEYS_MAX => Ok(keys),
        more => Err(format!("there are {more} keys, and at most {KEYS_MAX} are allowed")),
    }
}

/// Checks `auth.*` and reads the files of keys.
///
/// # Errors
/// At the first contradiction.
pub fn check(checker: &mut Checker) -> Result<Auth, ConfigError> {
    let auth = checker.layers.raw.auth.clone();
    let (jwt, cookie) = (jwt(checker, &auth.mode)?, cookie(checker, &auth.mode)?);
    let both = [AuthMode::Jwt, AuthMode::Cookie].iter().all(|mode| auth.mode.contains(mode));
    if both && jwt.cookie.as_ref() == Some(&cookie.name) {
        let problem = "a signed cookie has this name; expected another for the cookie that carries a token";
        return Err(checker.refuse("auth.jwt.cookie", quoted(&cookie.name), problem));
    }
    let http = endpoint::check(checker, &auth.mode)?;
    let tickets = tickets(checker)?;
    Ok(Auth {
        modes: auth.mode,
        header: auth.header,
        device_header: auth.device_header,
        first_frame: auth.first_frame,
        first_frame_timeout_ms: auth.first_frame_timeout,
        jwt,
        cookie,
        http,
        tickets,
    })
}

fn cookie(checker: &Checker, modes: &[AuthMode]) -> Result<Cookie, ConfigError> {
    let cookie = &checker.layers.raw.cookie;
    let names = ["auth.cookie.keys", "auth.cookie.keys_file"];
    let keys = keys_of_lines(checker, names, &cookie.keys, &cookie.keys_file)?;
    if keys.is_none() && modes.contains(&AuthMode::Cookie) {
        let problem = "the mode \"cookie\" needs keys; expected auth.cookie.keys or auth.cookie.keys_file";
        return Err(checker.refuse("auth.mode", Modes.show(&modes.to_vec()), problem));
    }
    Ok(Cookie { name: cookie.name.clone(), keys, leeway_s: cookie.leeway / 1_000 })
}

fn tickets(checker: &Checker) -> Result<Tickets, ConfigError> {
    let tickets = &checker.layers.raw.tickets;
    let names = ["auth.tickets.keys", "auth.tickets.keys_file"];
    let keys = keys_of_lines(checker, names, &tickets.keys, &tickets.keys_file)?;
    let used = usize::try_from(tickets.used).unwrap_or(usize::MAX);
    Ok(Tickets { keys, ttl_ms: tickets.ttl, used })
}

/// Keys that were given, or are in a file, one a line.
fn keys_of_lines(
    checker: &Checker,
    [key, file_key]: [&'static str; 2],
    given: &[Secret],
    file: &Option<PathBuf>,
) -> Result<Option<Secret>, ConfigError> {
    let lines = given.iter().map(Secret::reveal).collect::<Vec<_>>().join("\n");
    let given = (!given.is_empty()).then(|| Secret::new(lines));
    let keys = checker.secret(key, &given, file_key, file)?;
    let problem = keys.as_ref().and_then(|keys| signing_keys(keys.reveal()).err());
    match (problem, keys.as_ref().and_then(Secret::source)) {
        (None, _) => Ok(keys),
        (Some(problem), Some(path)) => {
            Err(checker.refuse(file_key, quoted(&path.display().to_string()), problem))
        }
        (Some(problem), None) => Err(checker.refuse(key, "***", problem.replace("in line", "number"))),
    }
}

fn jwt(checker: &mut Checker, modes: &[AuthMode]) -> Result<Jwt, ConfigError> {
    let jwt = checker.layers.raw.jwt.clone();
    let secret = checker.secret("auth.jwt.secret", &jwt.secret, "auth.jwt.secret_file", &jwt.secret_file)?;
    let is_on = modes.contains(&AuthMode::Jwt);
    let given = [
        secret.is_some().then_some("auth.jwt.secret"),
        jwt.public_key_file.is_some().then_some("auth.jwt.public_key_file"),
        jwt.jwks_file.is_some().then_some("auth.jwt.jwks_file"),
    ];
    let mut given = given.into_iter().flatten();
    let found = given.next();
    if found.is_none() && is_on {
        let keys = "auth.jwt.secret, auth.jwt.secret_file, auth.jwt.public_key_file or auth.jwt.jwks_file";
        let problem = format!("the mode \"jwt\" needs a key; expected one of {keys}");
        return Err(checker.refuse("auth.mode", Modes.show(&modes.to_vec()), problem));
    }
    if let Some(second) = given.next() {
        let path = if second == "auth.jwt.jwks_file" { &jwt.jwks_file } else { &jwt.public_key_file };
        let shown = path.as_deref().map_or_else(String::new, |path| quoted(&path.display().to_string()));
        let problem = "expected exactly one of a shared secret, a public key and a set of keys (a set may hold them all)";
        return Err(checker.refuse(second, shown, problem));
    }
    check_algorithms(checker, &jwt.algorithms, found)?;
    let mut algorithms = jwt.algorithms;
    if let Some(secret) = &secret {
        if algorithms.is_empty() {
            algorithms.push("HS256".into());
        }
        if secret.reveal().len() < 32 && is_on {
            checker.warn(
                "auth.jwt.secret is shorter than 32 bytes: RFC 7518 asks for the length of the hash".into(),
            );
        }
    }
    let public_key = jwt.public_key_file.as_deref().map(|path| public_key(checker, path)).transpose()?;
    let jwks = jwt.jwks_file.as_deref().map(|path| key_set(checker, path)).transpose()?;
    Ok(Jwt {
        algorithms,
        secret,
        public_key,
        jwks,
        issuer: jwt.issuer,
        audience: jwt.audience,
        cookie: jwt.cookie,
        leeway_s: jwt.leeway / 1_000,
    })
}

/// Whether the algorithms suit the key. Those of a set say themselves what they are for.
fn check_algorithms(checker: &Checker, algorithms: &[String], key: Option<&str>) -> Result<(), ConfigError> {
    let mut families = algorithms.iter().filter_map(|one| family(one)).collect::<Vec<_>>();
    families.dedup();
    let problem = match (key, families.as_slice()) {
        (Some("auth.jwt.jwks_file"), _) => return Ok(()),
        (_, [_, _, ..]) => {
            "expected algorithms of one family: one key suits no two; a set of keys would, auth.jwt.jwks_file"
        }
        (Some("auth.jwt.secret"), [] | ["HS"]) | (None, _) => return Ok(()),
        (Some("auth.jwt.secret"), _) => "expected HS256, HS384 or HS512: the key is a shared secret",
        (Some(_), [] | ["HS"]) => {
            "expected RS, PS, ES or EdDSA algorithms, such as \"RS256\": the key is a public key"
        }
        (Some(_), _) => return Ok(()),
    };
    let shown = algorithms.iter().map(|one| quoted(one)).collect::<Vec<_>>().join(", ");
    let key = key.unwrap_or_default();
    Err(checker.refuse_with("auth.jwt.algorithms", key, format!("[{shown}]"), problem))
}

fn public_key(checker: &Checker, path: &Path) -> Result<Secret, ConfigError> {
    let problem = match Secret::from_file(path) {
        Ok(key) if key.reveal().contains("-----BEGIN PUBLIC KEY-----") => return Ok(key),
        Ok(key) if key.reveal().contains("-----BEGIN RSA PUBLIC KEY-----") => return Ok(key),
        Ok(_) => "it holds no public key".to_owned(),
        Err(error) => error.to_string(),
    };
    let shown = quoted(&path.display().to_string());
    let problem = format!("expected a PEM file with a public key: {problem}");
    Err(checker.refuse("auth.jwt.public_key_file", shown, problem))
}

fn key_set(checker: &Checker, path: &Path) -> Result<Secret, ConfigError> {
    let has_keys = |set: &Secret| {
        let value = serde_json::from_str::<serde_json::Value>(set.reveal()).ok();
        value.is_some_and(|value| value["keys"].as_array().is_some_and(|keys| !keys.is_empty()))
    };
    let problem = match Secret::from_file_within(path, SET_BYTES_MAX) {
        Ok(set) if has_keys(&set) => return Ok(set),
        Ok(_) => "it holds no key".to_owned(),
        Err(error) => error.to_string(),
    };
    let shown = quoted(&path.display().to_string());
    let problem = format!("expected a file like {{\"keys\": [{{\"kty\": …}}]}} (RFC 7517): {problem}");
    Err(checker.refuse("auth.jwt.jwks_file", shown, problem))
}

fn family(algorithm: &str) -> Option<&'static str> {
    words::ALGORITHMS.iter().find(|(name, _)| *name == algorithm).map(|(_, family)| *family)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ways_are_combined_with_commas() {
        use AuthMode::{Cookie, Header, Http, Jwt};
        let parse = |text: &str| Modes.parse(&Input::Text(text.into()));
        for (text, modes, shown) in [
            ("header", vec![Header], "\"header\""),
            ("jwt", vec![Jwt], "\"jwt\""),
            ("jwt, cookie", vec![Jwt, Cookie], "\"jwt,cookie\""),
            ("cookie,jwt", vec![Cookie, Jwt], "\"cookie,jwt\""),
            ("jwt,cookie,http", vec![Jwt, Cookie, Http], "\"jwt,cookie,http\""),
        ] {
            let read = parse(text).unwrap();
            assert_eq!(Modes.show(&read), shown);
            assert_eq!(read, modes);
        }
        for text in ["", ",", "jwt,", "jwt cookie", "JWT", "jwt;cookie", "https"] {
            assert_eq!(parse(text), Err(Rejected::default()), "{text:?}");
        }
        assert!(parse("jwt,jwt").unwrap_err().problem.unwrap().contains("once"));
        for text in ["header,jwt", "cookie,header", "http,header"] {
            assert!(parse(text).unwrap_err().problem.unwrap().contains("alone"), "{text:?}");
        }
    }

    #[test]
    fn a_file_of_keys_has_one_a_line() {
        let (a, b) = ("a".repeat(32), "b".repeat(256));
        let text = format!("\n  {a}\r\n\n{b}\t\n");
        assert_eq!(signing_keys(&text).unwrap(), [a.as_str(), b.as_str()]);
        let many = (0..9).map(|n| format!("{n}{a}\n")).collect::<String>();
        let rows = [
            (String::new(), "no key"),
            ("\n \n".into(), "no key"),
            (format!("{a}\nshort"), "line 2: it has 5 bytes"),
            ("x".repeat(257), "line 1: it has 257 bytes"),
            (format!("{a} {a}"), "a space"),
            (format!("{a}\u{7f}"), "control"),
            (format!("{a}\n{b}\n{a}"), "line 3: it is there already"),
            ("-----BEGIN-PUBLIC-KEY-----aaaaaaaaaaaaaaaaaaa".into(), "PEM"),
            (many, "9 keys"),
        ];
        for (text, problem) in rows {
            let error = signing_keys(&text).unwrap_err();
            assert!(error.contains(problem) && !error.contains("aaaa"), "{error}");
        }
    }
}
