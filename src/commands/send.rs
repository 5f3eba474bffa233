//! `holdfast send`: messages for users, through Kafka or directly, and what became of them.

mod brokers;
mod lines;

pub(super) use brokers::password;

use super::{
    DONE, FAILED, USAGE,
    client::{NodeAddress, table},
    complain, fail, print,
};
use crate::{
    config::duration::parse_query_ms,
    sender::{Body, Delivery, KafkaSettings, Message, Outcome, Outcomes, SendError, Sender, Wait},
};
use serde_json::json;
use std::{
    io::{IsTerminal, Read},
    path::PathBuf,
    time::Duration,
};

/// Sends messages: one, or one for each line of standard input.
///
/// Through Kafka they are kept until a node delivers them, and what became of each is told by the status topic; with
/// --direct a node is asked, and its answer printed.
///
/// Exit 0 when Kafka has every message, or, with --direct, when every outcome is `written` or `acked` (with --lines: when a
/// device has every message); else 1.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Whom to send to
    #[arg(required_unless_present = "lines")]
    user: Option<String>,
    /// The body; without it, and without --file, standard input is sent as it comes
    body: Option<String>,
    /// Send what this file holds, as it is
    #[arg(long, value_name = "FILE", conflicts_with = "body")]
    file: Option<PathBuf>,
    /// Send one message for each line of standard input: USER BODY, or JSON as POST /v1/messages takes it; options given
    /// here are for those that bring none of their own
    #[arg(long, conflicts_with_all = ["user", "body", "file", "id"])]
    lines: bool,
    /// With --lines: so many a second, e.g. 100/s; or a minute, 100/m [default: as fast as they are taken]
    #[arg(long, value_name = "N/s", value_parser = rate)]
    rate: Option<f64>,

    /// Only this device
    #[arg(long)]
    device: Option<String>,
    /// Priority: a lane [default: normal; with --direct the node's own]
    #[arg(long)]
    lane: Option<String>,
    /// Life of the message, e.g. 30s
    #[arg(long, value_parser = duration)]
    ttl: Option<Duration>,
    /// Id of the message: a device takes each only once
    #[arg(long)]
    id: Option<String>,
    /// Collapse key: under pressure a newer message with the same key takes an older one's place
    #[arg(long, value_name = "KEY")]
    collapse: Option<String>,
    /// Content type of the body: none or text/* is text, application/json is JSON, any other is binary
    #[arg(long, value_name = "TYPE")]
    content_type: Option<String>,

    /// With --direct, what to wait for: the kernel took the last byte, or the client acknowledged it
    #[arg(long, value_name = "WHAT", value_parser = ["written", "ack"])]
    wait: Option<String>,
    /// How long to wait for the outcome, or for Kafka to have a message, e.g. 5s [default: the node's; 30s]
    #[arg(long, value_parser = duration)]
    timeout: Option<Duration>,
    /// Print what became of it as JSON
    #[arg(long)]
    json: bool,

    /// Send over the internal port of a node, and wait for the outcome
    #[arg(long, conflicts_with_all = ["kafka", "topic_prefix", "properties", "password_file"])]
    direct: bool,
    #[command(flatten)]
    node: NodeAddress,
    /// Brokers, several with commas [env: HOLDFAST_KAFKA_BROKERS] [default: the broker inside the node at --internal]
    #[arg(long, value_name = "HOST:PORT")]
    kafka: Option<String>,
    /// Topics are called PREFIX.push.LANE in place of push.LANE
    #[arg(long, value_name = "PREFIX")]
    topic_prefix: Option<String>,
    /// Property of librdkafka, e.g. security.protocol=sasl_ssl or sasl.username=me; may be repeated
    #[arg(long = "property", value_name = "NAME=VALUE", value_parser = property)]
    properties: Vec<(String, String)>,
    /// File that holds sasl.password [env: HOLDFAST_KAFKA_PASSWORD_FILE]
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
}

const EXAMPLES: &str = "\
Examples:
  holdfast send ann 'hello'
  holdfast send ann --file notice.json --content-type application/json --lane high --ttl 10m --id notice-7
  holdfast send ann 'hello' --kafka kafka-1:9093 --property security.protocol=sasl_ssl --property sasl.mechanism=PLAIN \\
      --property sasl.username=me --password-file password
  holdfast send --lines --rate 100/s --lane low < messages.ndjson
  holdfast send --direct ann 'hello' --device phone --wait ack --timeout 5s";

pub fn main(args: &Args) -> i32 {
    if let Some(why) = misuse(args) {
        complain(why);
        return USAGE;
    }
    let done = match &args.user {
        Some(user) => one(args, user),
        None => sender(args).and_then(|sender| lines::send(args, sender)),
    };
    done.unwrap_or_else(fail)
}

/// What clap cannot say in a sentence.
fn misuse(args: &Args) -> Option<&'static str> {
    if args.wait.is_some() && !args.direct {
        return Some(
            "--wait needs --direct: through Kafka a message's outcome comes later, by the status topic \
             (kafka.status_topic)",
        );
    }
    if args.rate.is_some() && !args.lines {
        return Some("--rate is for many messages: it needs --lines");
    }
    if args.lines && args.direct && (args.wait.is_some() || args.timeout.is_some()) {
        return Some(
            "--wait and --timeout are for one message: with --lines the node answers for many at once",
        );
    }
    None
}

fn sender(args: &Args) -> Result<Sender, String> {
    let sender = if args.direct {
        Sender::direct(&args.node.address(), args.node.token()?.as_deref())
    } else {
        let mut settings =
            KafkaSettings::new(brokers::find(args.kafka.as_deref(), &args.node, args.lane.as_deref())?);
        settings.properties.clone_from(&args.properties);
        settings.password = brokers::password(args.password_file.as_deref())?;
        settings.prefix = args.topic_prefix.clone().unwrap_or_default();
        settings.timeout = args.timeout.unwrap_or(settings.timeout);
        Sender::kafka(settings)
    };
    sender.map_err(|fault| fault.to_string())
}

fn one(args: &Args, user: &str) -> Result<i32, String> {
    let message = Message {
        device: args.device.clone(),
        lane: args.lane.clone(),
        ttl: args.ttl,
        id: args.id.clone(),
        collapse: args.collapse.clone(),
        ..Message::new(user, body(args.content_type.as_deref(), read_body(args)?))
    };
    let wait = match args.direct {
        true => Wait { for_ack: args.wait.as_deref() == Some("ack"), timeout: args.timeout },
        false => Wait::default(),
    };
    match sender(args)?.deliver_and_wait(&message, &wait) {
        Ok(Delivery::Queued { topic }) if args.json => {
            Ok(print(&format!("{}\n", json!({"topic": topic, "acked": true}))))
        }
        Ok(Delivery::Queued { topic }) => Ok(print(&format!("acked: in {topic}\n"))),
        Ok(Delivery::Outcomes(outcomes)) => Ok(report(args, user, &outcomes)),
        Err(SendError::Refused(why)) if !args.direct => Err(format!("Kafka did not take the message: {why}")),
        Err(why) => Err(why.to_string()),
    }
}

fn read_body(args: &Args) -> Result<Vec<u8>, String> {
    if let Some(body) = &args.body {
        return Ok(body.clone().into_bytes());
    }
    if let Some(file) = &args.file {
        return std::fs::read(file).map_err(|error| format!("cannot read {}: {error}", file.display()));
    }
    let mut input = std::io::stdin().lock();
    if input.is_terminal() {
        complain("type the message; Ctrl-D on a line of its own ends it");
    }
    let mut body = Vec::new();
    let read = input.read_to_end(&mut body);
    read.map_err(|error| format!("cannot read the body from standard input: {error}"))?;
    // More often than not what should have written it has failed.
    if body.is_empty() {
        return Err(
            "standard input is empty: there is nothing to send (an empty message is an empty argument)"
                .into(),
        );
    }
    Ok(body)
}

/// As the internal port reads content types.
fn body(content_type: Option<&str>, bytes: Vec<u8>) -> Body {
    let whole = content_type.unwrap_or("").to_ascii_lowercase();
    match whole.split(';').next().unwrap_or("").trim() {
        "" | "application/x-www-form-urlencoded" => Body::Text(bytes.into()),
        text if text.starts_with("text/") => Body::Text(bytes.into()),
        json if json == "application/json" || json.ends_with("+json") => Body::Json(bytes.into()),
        _ => Body::Binary(bytes.into()),
    }
}

fn report(args: &Args, user: &str, outcomes: &Outcomes) -> i32 {
    let is_good = |outcome: Outcome| [Outcome::Written, Outcome::Acked].contains(&outcome);
    let all_good = !outcomes.devices.is_empty() && outcomes.devices.iter().all(|one| is_good(one.outcome));
    let code = if all_good { DONE } else { FAILED };
    if args.json {
        return print(&format!("{}\n", json!(outcomes))).max(code);
    }
    match (&args.device, outcomes.devices.is_empty()) {
        (Some(device), true) => fail(format_args!("{user} is not connected with the device {device}")),
        (None, true) => fail(format_args!("{user} is not connected")),
        (_, false) => {
            let cell = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".into());
            let mut rows = vec![["DEVICE", "OUTCOME", "NODE"].map(str::to_owned).to_vec()];
            rows.extend(
                outcomes
                    .devices
                    .iter()
                    .map(|one| vec![cell(&one.device), one.outcome.label().to_owned(), cell(&one.node)]),
            );
            print(&table(&rows)).max(code)
        }
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    let ms = parse_query_ms(text).ok_or("expected a duration like 250ms, 30s or 10m")?;
    Ok(Duration::from_millis(ms))
}

/// Messages a second.
fn rate(text: &str) -> Result<f64, String> {
    let (number, seconds) = match text.split_once('/') {
        None | Some((_, "s")) => (text.trim_end_matches("/s"), 1.0),
        Some((number, "m")) => (number, 60.0),
        Some(_) => (text, 1.0),
    };
    match number.parse::<f64>() {
        Ok(number) if number.is_finite() && number > 0.0 => Ok(number / seconds),
        _ => Err("expected a number above zero, a second or a minute: 100/s or 100/m".into()),
    }
}

pub(super) fn property(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.trim().to_owned(), value.to_owned())),
        _ => Err("expected NAME=VALUE, such as security.protocol=sasl_ssl".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_a_second_or_a_minute() {
        assert_eq!((rate("100"), rate("100/s"), rate("30/m")), (Ok(100.0), Ok(100.0), Ok(0.5)));
        for bad in ["", "0", "-1/s", "1/h", "inf", "many/s", "/s"] {
            assert!(rate(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_content_type_says_what_the_body_is() {
        for (content_type, is) in [
            (None, Body::Text("1".into())),
            (Some("Text/Plain; charset=utf-8"), Body::Text("1".into())),
            (Some("application/json"), Body::Json("1".into())),
            (Some("application/problem+json; a=b"), Body::Json("1".into())),
            (Some("image/png"), Body::Binary("1".into())),
        ] {
            assert_eq!(body(content_type, b"1".to_vec()), is, "{content_type:?}");
        }
    }
}
