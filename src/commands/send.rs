//! `holdfast send`: pushes one message to a user and says what became of it for each device.

use super::{
    DONE, FAILED, USAGE,
    client::{Answer, NodeAddress, Payload, escaped, table},
    fail, print,
};
use crate::config::duration::parse_query_ms;
use serde_json::Value;
use std::{io::Read, time::Duration};

/// Sends one message to a user's devices, or to one of them, and says what became of it.
///
/// Exit 0 when every device's outcome is `written` or `acked`, else 1.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Whom to send to
    user: String,
    /// The body; without it, standard input is sent as it comes
    body: Option<String>,
    /// Send over the internal port and wait for the outcome (this version has no queue, so it is needed)
    #[arg(long)]
    direct: bool,
    /// Only this device
    #[arg(long)]
    device: Option<String>,
    /// Priority: a lane of the node [default: the node's own]
    #[arg(long)]
    lane: Option<String>,
    /// Life of the message, e.g. 30s
    #[arg(long, value_parser = duration)]
    ttl: Option<String>,
    /// Id of the message: a device takes each only once
    #[arg(long)]
    id: Option<String>,
    /// Collapse key: under pressure a newer message with the same key takes an older one's place
    #[arg(long, value_name = "KEY")]
    collapse: Option<String>,
    /// What to wait for: the kernel took the last byte, or the client acknowledged it
    #[arg(long, value_name = "WHAT", value_parser = ["written", "ack"])]
    wait: Option<String>,
    /// How long to wait, e.g. 5s
    #[arg(long, value_parser = duration)]
    timeout: Option<String>,
    /// Content type of the body: none or text/* is text, application/json is JSON, any other is binary
    #[arg(long, value_name = "TYPE")]
    content_type: Option<String>,
    /// Print the node's answer as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    node: NodeAddress,
}

const EXAMPLES: &str = "\
Examples:
  holdfast send --direct ann 'hello'
  holdfast send --direct ann '{\"n\":1}' --content-type application/json
  holdfast send --direct ann 'hello' --device phone --wait ack --timeout 5s
  date | holdfast send --direct ann --lane high --json";

pub fn main(args: &Args) -> i32 {
    if !args.direct {
        eprintln!(
            "holdfast: this version has no queue to send to: use `holdfast send --direct {} …`",
            args.user
        );
        return USAGE;
    }
    match send(args) {
        Ok(answer) => report(args, &answer),
        Err(why) => fail(why),
    }
}

fn send(args: &Args) -> Result<Answer, String> {
    let wait_ms = args.timeout.as_deref().and_then(parse_query_ms).unwrap_or(30_000);
    let client = args.node.client(Duration::from_millis(wait_ms))?;
    let body = match &args.body {
        Some(body) => body.clone().into_bytes(),
        None => {
            let mut body = Vec::new();
            let read = std::io::stdin().lock().read_to_end(&mut body);
            read.map_err(|error| format!("cannot read the body from standard input: {error}"))?;
            body
        }
    };
    let payload = Payload { content_type: args.content_type.as_deref(), body: &body };
    client.ask("POST", &path(args), Some(&payload)).map_err(|failure| failure.text().to_owned())
}

fn path(args: &Args) -> String {
    let query = [
        ("device", &args.device),
        ("lane", &args.lane),
        ("ttl", &args.ttl),
        ("id", &args.id),
        ("collapse", &args.collapse),
        ("wait", &args.wait),
        ("timeout", &args.timeout),
    ];
    let mut path = format!("/v1/users/{}/push", escaped(&args.user));
    let given = query.iter().filter_map(|(name, value)| Some((name, value.as_deref()?)));
    for (at, (name, value)) in given.enumerate() {
        let sign = if at == 0 { '?' } else { '&' };
        path.push_str(&format!("{sign}{name}={}", escaped(value)));
    }
    path
}

fn report(args: &Args, answer: &Answer) -> i32 {
    let outcomes =
        answer.body.get("outcomes").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let text = |value: &Value, key: &str| value.get(key).and_then(Value::as_str).unwrap_or("-").to_owned();
    let good = |outcome: &Value| ["written", "acked"].contains(&text(outcome, "outcome").as_str());
    let code = if !outcomes.is_empty() && outcomes.iter().all(good) { DONE } else { FAILED };
    if args.json {
        return print(&format!("{}\n", answer.body)).max(code);
    }
    match (answer.status, &args.device) {
        (200, _) => {
            let mut rows = vec![vec!["DEVICE".to_owned(), "OUTCOME".into(), "NODE".into()]];
            rows.extend(
                outcomes.iter().map(|one| vec![text(one, "device"), text(one, "outcome"), text(one, "node")]),
            );
            print(&table(&rows)).max(code)
        }
        (404, Some(device)) => fail(format_args!("{} is not connected with the device {device}", args.user)),
        (404, None) => fail(format_args!("{} is not connected", args.user)),
        _ => fail(answer.refusal("the node refused the message")),
    }
}

fn duration(text: &str) -> Result<String, String> {
    let known = parse_query_ms(text).is_some();
    known.then(|| text.to_owned()).ok_or_else(|| "expected a duration like 250ms, 30s or 10m".into())
}
