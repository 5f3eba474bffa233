//! `internal.tokens` as typed: a list of tables in the file, `name:role:token` in a flag or the environment.

use super::{
    Role, Secret,
    kind::{Choice, Hidden, Input, Kind, Rejected, quoted},
};
use std::path::PathBuf;

/// One token as typed; exactly one of the two ways to give its secret is set.
#[derive(Clone, PartialEq, Debug)]
pub struct RawToken {
    /// For the audit log.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// The secret as it is.
    pub token: Option<Secret>,
    /// The file that holds it.
    pub token_file: Option<PathBuf>,
}

/// The roles that a named token may have.
pub const ROLES: Choice<Role> =
    Choice(&[("send", Role::Send), ("read", Role::Read), ("admin", Role::Admin), ("peer", Role::Peer)]);

/// The kind of `internal.tokens`.
pub struct Tokens;

impl Kind for Tokens {
    type Value = Vec<RawToken>;

    fn parse(&self, input: &Input) -> Result<Vec<RawToken>, Rejected> {
        match input {
            Input::Bare(text) if text.is_empty() => Ok(Vec::new()),
            Input::Bare(text) => text.split(',').map(|one| from_text(one.trim())).collect(),
            Input::List(all) => all.iter().enumerate().map(|(at, one)| from_input(at, one)).collect(),
            _ => Err(Rejected::default()),
        }
    }

    fn show(&self, value: &Vec<RawToken>) -> String {
        let one = |token: &RawToken| {
            let secret = match &token.token_file {
                Some(path) => format!("token_file = {}", quoted(&path.display().to_string())),
                None => "token = \"***\"".into(),
            };
            format!("{{ name = {}, role = {}, {secret} }}", quoted(&token.name), ROLES.show(&token.role))
        };
        format!("[{}]", value.iter().map(one).collect::<Vec<_>>().join(", "))
    }

    fn allowed(&self) -> String {
        let keys = "[[internal.tokens]] tables with name, role and one of token and token_file";
        format!(
            "{keys} (in the environment or --set: name:role:token, comma separated); role is {}",
            ROLES.allowed()
        )
    }

    fn is_secret(&self) -> bool {
        true
    }
}

fn from_text(text: &str) -> Result<RawToken, Rejected> {
    let mut parts = text.splitn(3, ':');
    let mut next = || Input::Text(parts.next().unwrap_or_default().to_owned());
    let (name, role, token) = (next(), next(), next());
    let pairs = [("name".into(), name), ("role".into(), role), ("token".into(), token)];
    // Any part may be a secret: of a list whose tokens have commas, or one in another order.
    from_pairs("", &pairs).map_err(|rejected| Rejected { value: Some("…".into()), ..rejected })
}

fn from_input(at: usize, input: &Input) -> Result<RawToken, Rejected> {
    match input {
        Input::Table(pairs) => from_pairs(&format!("[{at}]"), pairs),
        _ => Err(Rejected { within: format!("[{at}]"), value: Some("…".into()), problem: None }),
    }
}

fn from_pairs(within: &str, pairs: &[(String, Input)]) -> Result<RawToken, Rejected> {
    let refuse = |key: &str, value: String, problem: &str| Rejected {
        within: format!("{within}{key}"),
        value: Some(value),
        problem: Some(problem.to_owned()),
    };
    if let Some((key, _)) =
        pairs.iter().find(|(key, _)| !["name", "role", "token", "token_file"].contains(&&**key))
    {
        let problem = "unknown key; expected name, role, token or token_file";
        return Err(refuse(&format!(".{key}"), "…".into(), problem));
    }
    let value = |key: &str| pairs.iter().find(|(one, _)| one == key).map(|(_, value)| value);
    let name = match value("name") {
        Some(Input::Text(name)) if is_token_name(name) => name.clone(),
        other => {
            let problem = "expected a name of 1 to 64 letters, digits, \".\", \"_\" or \"-\"";
            return Err(refuse(".name", other.map_or("nothing".into(), Input::shown), problem));
        }
    };
    let role = match value("role").map(|role| (role, ROLES.parse(role))) {
        Some((_, Ok(role))) => role,
        other => {
            let shown = other.map_or("nothing".into(), |(role, _)| role.shown());
            return Err(refuse(".role", shown, &format!("expected {}", ROLES.allowed())));
        }
    };
    let (token, token_file) = match (value("token"), value("token_file")) {
        (Some(token), None) => {
            let token = Hidden.parse(token);
            (Some(token.map_err(|_| refuse(".token", "…".into(), "expected a secret text"))?), None)
        }
        (None, Some(Input::Text(path))) if !path.is_empty() => (None, Some(PathBuf::from(path))),
        _ => return Err(refuse(".token", "…".into(), "expected exactly one of token and token_file")),
    };
    Ok(RawToken { name, role, token, token_file })
}

fn is_token_name(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    (1..=64).contains(&name.len()) && name.bytes().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_holds_name_role_and_a_token_that_may_hold_colons() {
        let all = Tokens.parse(&Input::Bare("ci:send:a:b, ops:admin:c".into())).unwrap();
        assert_eq!(all.len(), 2);
        assert_eq!((all[0].name.as_str(), all[0].role), ("ci", Role::Send));
        assert_eq!(all[0].token.as_ref().unwrap().reveal(), "a:b");
        assert_eq!(Tokens.parse(&Input::Bare(String::new())).unwrap(), []);
        for bad in ["ci", "ci:send", "ci:boss:x", ":send:x", "a b:send:x", "ci:send:"] {
            assert!(Tokens.parse(&Input::Bare(bad.into())).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_fault_names_the_key_inside_and_hides_the_secret() {
        let table = |pairs: &[(&str, &str)]| {
            let pairs =
                pairs.iter().map(|(key, value)| ((*key).to_owned(), Input::Text((*value).to_owned())));
            Tokens.parse(&Input::List(vec![Input::Table(pairs.collect())]))
        };
        let rejected = table(&[("name", "ci"), ("role", "boss"), ("token", "x")]).unwrap_err();
        assert_eq!((rejected.within.as_str(), rejected.value.as_deref()), ("[0].role", Some("\"boss\"")));
        let rejected = table(&[("name", "ci"), ("role", "send"), ("tokn", "x")]).unwrap_err();
        assert_eq!((rejected.within.as_str(), rejected.value.as_deref()), ("[0].tokn", Some("…")));
        assert!(table(&[("name", "ci"), ("role", "send"), ("token", "x"), ("token_file", "y")]).is_err());
        assert!(table(&[("name", "ci"), ("role", "send")]).is_err());
        assert!(table(&[("name", "ci"), ("role", "send"), ("token_file", "y")]).is_ok());
    }
}
