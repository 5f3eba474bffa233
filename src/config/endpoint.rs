//! `auth.http.*`: the endpoint that is asked who a client is.
//!
//! Owns what its address may look like, and what its settings must be together. Asks nobody.

use super::{
    AuthMode, ConfigError, Http, Secret,
    check::{Checker, repeated, size},
    duration::format_ms,
    kind::{Input, Kind, Rejected, quoted},
    login::Modes,
    words,
};
use crate::model::question::is_passed_on;
use std::path::Path;

/// Longest URL, bytes.
const URL_BYTES_MAX: usize = 2_048;

/// The kind of `auth.http.url`.
pub struct Endpoint;

impl Kind for Endpoint {
    type Value = String;

    fn parse(&self, input: &Input) -> Result<String, Rejected> {
        let (Input::Bare(text) | Input::Text(text)) = input else { return Err(Rejected::default()) };
        let Some((scheme, rest)) = text.split_once("://") else { return Err(Rejected::default()) };
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        if authority.contains('@') {
            let problem = "expected it without a user and a password; auth.http.token is what tells the endpoint who asks";
            return Err(Rejected {
                value: Some("\"***\"".into()),
                problem: Some(problem.into()),
                ..Rejected::default()
            });
        }
        let place = words::is_host(authority) || words::is_host_and_port(authority);
        let is_scheme = ["http", "https"].iter().any(|known| scheme.eq_ignore_ascii_case(known));
        let is_plain = rest.bytes().all(|byte| byte.is_ascii_graphic() && !b"#\"<>\\^`{|}".contains(&byte));
        if is_scheme && place && is_plain && text.len() <= URL_BYTES_MAX {
            Ok(text.clone())
        } else {
            Err(Rejected::default())
        }
    }

    fn show(&self, value: &String) -> String {
        quoted(value)
    }

    fn allowed(&self) -> String {
        "a URL like \"https://login.example.com/whoami\": http:// or https://, a host, perhaps a port, a path and a query".into()
    }
}

/// Checks `auth.http.*` and reads the file of the token.
///
/// # Errors
/// At the first contradiction.
pub fn check(checker: &mut Checker, modes: &[AuthMode]) -> Result<Http, ConfigError> {
    let http = checker.layers.raw.http.clone();
    let is_on = modes.contains(&AuthMode::Http);
    if http.url.is_none() && is_on {
        let problem = "the mode \"http\" needs an endpoint to ask; expected auth.http.url";
        return Err(checker.refuse("auth.mode", Modes.show(&modes.to_vec()), problem));
    }
    let credentials: Vec<String> = http.credentials.iter().map(|name| name.to_ascii_lowercase()).collect();
    if let Some(name) = credentials.iter().find(|name| !is_passed_on(name)) {
        let problem = "a header of this name is not passed on to the endpoint; expected others";
        return Err(checker.refuse("auth.http.credentials", quoted(name), problem));
    }
    if let Some(name) = repeated(credentials.iter()) {
        return Err(checker.refuse("auth.http.credentials", quoted(name), "expected each header once"));
    }
    if http.pause_max < http.pause {
        let problem = format!("expected at least auth.http.pause, which is {}", format_ms(http.pause));
        return Err(checker.refuse("auth.http.pause_max", quoted(&format_ms(http.pause_max)), problem));
    }
    let patience = checker.layers.raw.limits.handshake_timeout;
    if is_on && http.timeout >= patience {
        let problem = format!(
            "expected less than limits.handshake_timeout, which is {}: a client waits no longer than that",
            format_ms(patience)
        );
        return Err(checker.refuse("auth.http.timeout", quoted(&format_ms(http.timeout)), problem));
    }
    let token = token(checker, &http.token, http.token_file.as_deref())?;
    if let Some(path) = &http.ca_file {
        check_certificates(checker, path)?;
    }
    if let Some(url) = http.url.as_deref().filter(|url| is_on && is_exposed(url)) {
        checker.warn(format!(
            "auth.http.url = {} is plaintext: clients' credentials can be read on the way; use https",
            quoted(url)
        ));
    }
    Ok(Http {
        url: http.url,
        credentials,
        token,
        ca_file: http.ca_file,
        timeout_ms: http.timeout,
        in_flight: size(http.in_flight),
        waiting: size(http.waiting),
        cache: size(http.cache),
        cache_max_ms: http.cache_max,
        failures: http.failures as u32,
        pause_ms: http.pause,
        pause_max_ms: http.pause_max,
    })
}

fn token(
    checker: &Checker,
    given: &Option<Secret>,
    file: Option<&Path>,
) -> Result<Option<Secret>, ConfigError> {
    let (key, file_key) = ("auth.http.token", "auth.http.token_file");
    let token = checker.secret(key, given, file_key, &file.map(Path::to_owned))?;
    match &token {
        Some(token) if !is_header_value(token.reveal()) => {
            let problem = "expected visible ASCII characters without spaces: it is sent in a header";
            let key = if token.source().is_some() { file_key } else { key };
            Err(checker.refuse(key, "***", problem))
        }
        _ => Ok(token),
    }
}

/// Whether a token can be sent in a header.
pub fn is_header_value(token: &str) -> bool {
    !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic())
}

fn check_certificates(checker: &Checker, path: &Path) -> Result<(), ConfigError> {
    let problem = match std::fs::read_to_string(path) {
        Ok(text) if text.contains("-----BEGIN CERTIFICATE-----") => return Ok(()),
        Ok(_) => "it holds none".to_owned(),
        Err(error) => error.to_string(),
    };
    let shown = quoted(&path.display().to_string());
    Err(checker.refuse(
        "auth.http.ca_file",
        shown,
        format!("expected a PEM file with certificates: {problem}"),
    ))
}

/// Plaintext, and not to this host.
fn is_exposed(url: &str) -> bool {
    let Some((scheme, rest)) = url.split_once("://") else { return false };
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    let host = match authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, _)) => host,
        None => authority.split(':').next().unwrap_or_default(),
    };
    let is_near = host.parse::<std::net::IpAddr>().map_or(host == "localhost", |ip| ip.is_loopback());
    scheme.eq_ignore_ascii_case("http") && !is_near
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_a_scheme_a_host_and_no_password() {
        for text in [
            "http://127.0.0.1:9/",
            "https://login.example.com",
            "https://login.example.com/whoami?for=push&x=%20",
            "http://[::1]:80/a",
            "HTTPS://host?x",
        ] {
            assert_eq!(Endpoint.parse(&Input::Text(text.into())), Ok(text.to_owned()), "{text}");
        }
        for text in [
            "",
            "localhost:80",
            "ftp://host/",
            "http://",
            "http:///path",
            "http://host:0/",
            "http://host:99999/",
            "http://host/a b",
            "http://host/#part",
            "http://ho st/",
            "http://host/\u{e9}",
            "http://host:/",
        ] {
            assert_eq!(Endpoint.parse(&Input::Text(text.into())), Err(Rejected::default()), "{text}");
        }
        let refused = Endpoint.parse(&Input::Bare("https://user:hunter2@host/".into())).unwrap_err();
        assert!(!format!("{refused:?}").contains("hunter2") && refused.problem.unwrap().contains("password"));
        assert!(Endpoint.parse(&Input::Text("https://host/a@b".into())).is_ok());
        assert!(Endpoint.parse(&Input::Text(format!("https://host/{}", "a".repeat(2_048)))).is_err());
    }

    #[test]
    fn plaintext_is_exposed_beyond_this_host() {
        for (url, exposed) in [
            ("http://127.0.0.1:9/", false),
            ("http://localhost/", false),
            ("http://[::1]:80/", false),
            ("https://login.example.com/", false),
            ("http://login.example.com/", true),
            ("http://10.0.0.1?a", true),
        ] {
            assert_eq!(is_exposed(url), exposed, "{url}");
        }
    }
}
