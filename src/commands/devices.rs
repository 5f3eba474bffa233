//! `holdfast devices`: a user's connected devices, and how to send them away.

use super::{
    DONE, FAILED,
    client::{NodeAddress, table},
    fail, print,
};
use crate::{
    config::duration::parse_query_ms,
    sender::http::{Answer, Client, Failure, escaped},
};
use serde_json::Value;
use std::time::Duration;

/// Lists a user's connected devices, or disconnects them (they get a goaway, then close code 4003).
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Whose devices
    user: String,
    /// Disconnect this device
    #[arg(long, value_name = "DEVICE", conflicts_with = "disconnect_all")]
    disconnect: Option<String>,
    /// Disconnect every device of the user
    #[arg(long)]
    disconnect_all: bool,
    /// With --disconnect-all: keep the user out for so long, e.g. 10m; at most 30d
    #[arg(long, value_name = "TIME", requires = "disconnect_all", value_parser = duration)]
    block: Option<String>,
    /// Print the node's answer as JSON, also when there is no device (exit 1)
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    node: NodeAddress,
}

const EXAMPLES: &str = "\
Examples:
  holdfast devices ann
  holdfast devices ann --disconnect phone
  holdfast devices ann --disconnect-all --block 10m
  holdfast devices ann --disconnect-all --internal 10.0.0.5:7008";

pub fn main(args: &Args) -> i32 {
    let client = match args.node.client(Duration::ZERO) {
        Ok(client) => client,
        Err(why) => return fail(why),
    };
    let done = match (&args.disconnect, args.disconnect_all) {
        (None, false) => list(args, &client),
        (device, _) => disconnect(args, &client, device.as_deref()),
    };
    done.unwrap_or_else(|failure| fail(failure.text()))
}

fn list(args: &Args, client: &Client) -> Result<i32, Failure> {
    let answer = client.ask("GET", &format!("/v1/users/{}/devices", escaped(&args.user)), None)?;
    let devices = answer.body.get("devices").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    if answer.status == 404 && args.json && answer.body.get("devices").is_some() {
        return Ok(print(&format!("{}\n", answer.body)).max(FAILED));
    }
    if answer.status != 200 {
        return Ok(refused(args, &answer));
    }
    if args.json {
        return Ok(print(&format!("{}\n", answer.body)));
    }
    let columns = ["device", "node", "protocol", "connected_at", "expires_at"];
    let mut rows = vec![columns.map(|name| name.to_uppercase().replace('_', " ")).to_vec()];
    let cell = |device: &Value, name: &str| match device.get(name) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Null) | None => "-".into(),
        Some(other) => other.to_string(),
    };
    rows.extend(devices.iter().map(|device| columns.map(|name| cell(device, name)).to_vec()));
    Ok(print(&table(&rows)))
}

fn disconnect(args: &Args, client: &Client, device: Option<&str>) -> Result<i32, Failure> {
    let user = escaped(&args.user);
    let path = match device {
        Some(device) => format!("/v1/users/{user}/devices/{}", escaped(device)),
        None => match &args.block {
            Some(block) => format!("/v1/users/{user}?block={}", escaped(block)),
            None => format!("/v1/users/{user}"),
        },
    };
    let answer = client.ask("DELETE", &path, None)?;
    if !(200..300).contains(&answer.status) {
        return Ok(refused(args, &answer));
    }
    if args.json {
        return Ok(print(&format!("{}\n", answer.body)));
    }
    let asked = answer.body.get("asked").and_then(Value::as_u64).unwrap_or(0);
    let told = match asked {
        1 => "1 connection was told to go away".to_owned(),
        asked => format!("{asked} connections were told to go away"),
    };
    Ok(print(&match &args.block {
        Some(block) => format!("{told}; {} is kept out for {block}\n", args.user),
        None => format!("{told}\n"),
    }))
}

fn refused(args: &Args, answer: &Answer) -> i32 {
    // Another server's 404 says nothing of users.
    let is_of_a_node = answer.body.get("devices").is_some() || answer.body.get("error").is_some();
    let code = match (answer.status, &args.disconnect) {
        (404, _) if !is_of_a_node => fail(answer.refusal("the node refused")),
        (404, Some(device)) => fail(format_args!("{} is not connected with the device {device}", args.user)),
        (404, None) => fail(format_args!("{} is not connected", args.user)),
        _ => fail(answer.refusal("the node refused")),
    };
    debug_assert_ne!(code, DONE);
    code
}

/// As the node takes it.
fn duration(text: &str) -> Result<String, String> {
    parse_query_ms(text)
        .map(|_| text.to_owned())
        .ok_or_else(|| "expected a duration like 30s, 10m or 1h".into())
}
