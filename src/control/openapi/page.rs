//! docs/api.md, for people, from the description.

mod ordered;

use ordered::Json;
use std::fmt::Write;

const HEAD: &str = "\
# The internal port, request by request

[senders.md](senders.md) is for reading from the top; this page is for looking things up. It is made from
[the description](../src/control/openapi/document.json), by `UPDATE_DOCS=1 cargo test --lib control::openapi::`. Every node serves
that description, with its own lanes and identity header, at `GET /v1/openapi.json`: for programs that make clients, forms or tests
of it (OpenAPI 3.1). In the `curl` lines, `$TOKEN` is a token of the role that is named; without `internal.tokens` leave it out.
";

/// The page.
pub fn of(source: &str) -> String {
    let document = Json::parse(source);
    let mut page = Page { document: &document, out: HEAD.to_owned() };
    page.paragraph(document.at("info").text("description"));
    page.contents();
    for tag in document.at("tags").items() {
        page.section(tag);
    }
    page.words(
        "Errors",
        "Every refusal but those of `/push` is `{\"error\",\"message\"}`. The words of `error`:",
        "ErrorCode",
    );
    page.words("Outcomes", "What became of one message for one device:", "Outcome");
    page.schemas();
    page.out
}

struct Page<'d> {
    document: &'d Json,
    out: String,
}

/// One request.
struct Operation<'d> {
    path: &'d str,
    method: String,
    at: &'d Json,
}

impl<'d> Page<'d> {
    fn operations(&self) -> Vec<Operation<'d>> {
        let of_path = |(path, item): &'d (String, Json)| {
            item.fields().iter().map(move |(method, at)| Operation {
                path,
                method: method.to_ascii_uppercase(),
                at,
            })
        };
        self.document.at("paths").fields().iter().flat_map(of_path).collect()
    }

    fn line(&mut self, line: impl AsRef<str>) {
        self.out.push_str(line.as_ref());
        self.out.push('\n');
    }

    fn paragraph(&mut self, text: &str) {
        if !text.is_empty() {
            self.line(format!("\n{text}"));
        }
    }

    fn contents(&mut self) {
        self.line("\n| request | role | |\n|---|---|---|");
        for operation in self.operations() {
            let title = operation.at.text("summary");
            let (method, path, role) = (&operation.method, operation.path, role(operation.at));
            self.line(format!("| `{method} {path}` | {role} | [{title}](#{}) |", anchor(title)));
        }
    }

    fn section(&mut self, tag: &Json) {
        self.line(format!("\n## {}", tag.text("description")));
        for operation in self.operations() {
            if operation.at.at("tags").items().iter().any(|own| own.as_text() == tag.text("name")) {
                self.operation(&operation);
            }
        }
    }

    fn operation(&mut self, operation: &Operation<'d>) {
        let Operation { path, method, at } = operation;
        self.line(format!("\n### {}", at.text("summary")));
        self.line(format!("\n`{method} {path}`, role: {}", role(at)));
        self.paragraph(at.text("description"));
        let parameters = at.at("parameters").items();
        if !parameters.is_empty() {
            self.line("\n| parameter | in | what | meaning |\n|---|---|---|---|");
        }
        for parameter in parameters {
            let parameter = self.resolved(parameter);
            let must = if parameter.at("required").is_true() { ", required" } else { "" };
            let (name, place) = (parameter.text("name"), parameter.text("in"));
            let kind = kind(parameter.at("schema"));
            self.line(format!("| `{name}` | {place}{must} | {kind} | {} |", parameter.text("description")));
        }
        self.curl(operation);
        self.answers(at.at("responses"));
    }

    /// A line for a terminal, for each example of a body.
    fn curl(&mut self, operation: &Operation<'d>) {
        let Operation { path, method, at } = operation;
        let (mut path, mut query, mut headers) = ((*path).to_owned(), String::new(), String::new());
        for parameter in at.at("parameters").items() {
            let parameter = self.resolved(parameter);
            let (name, example) = (parameter.text("name"), parameter.text("example"));
            match (parameter.text("in"), example) {
                (_, "") => {}
                ("path", _) => path = path.replace(&format!("{{{name}}}"), example),
                ("query", _) => {
                    let sign = if query.is_empty() { '?' } else { '&' };
                    let _ = write!(query, "{sign}{name}={example}");
                }
                _ => {
                    let _ = write!(headers, " -H '{name}: {example}'");
                }
            }
        }
        if !at.at("security").items().is_empty() {
            headers.push_str(" -H \"Authorization: Bearer $TOKEN\"");
        }
        let address = format!("'localhost:7008{path}{query}'");
        let bodies: Vec<(String, String)> =
            at.at("requestBody").at("content").fields().iter().filter_map(body).collect();
        self.line("\n```sh");
        for (options, input) in &bodies {
            self.line(format!("curl{headers} {options} {address}{input}"));
        }
        if bodies.is_empty() {
            let method = match method.as_str() {
                "GET" => String::new(),
                method => format!(" -X {method}"),
            };
            self.line(format!("curl{method}{headers} {address}"));
        }
        self.line("```");
    }

    fn answers(&mut self, responses: &'d Json) {
        self.line("\n| status | when | body |\n|---|---|---|");
        let mut examples = Vec::new();
        for (status, response) in responses.fields() {
            let response = self.resolved(response);
            let mut bodies = Vec::new();
            for (media, content) in response.at("content").fields() {
                let words = words(content.at("schema"));
                bodies.push(match kind(content.at("schema")) {
                    _ if !words.is_empty() => words,
                    kind if kind.starts_with('[') => kind,
                    _ => format!("`{media}`"),
                });
                if let Some(example) = content.get("example") {
                    examples.push(example.shown());
                }
            }
            let headers: Vec<String> = response
                .at("headers")
                .fields()
                .iter()
                .map(|(name, _)| format!("; header `{name}`"))
                .collect();
            let when = response.text("description");
            self.line(format!("| {status} | {when} | {}{} |", bodies.join(", "), headers.concat()));
        }
        for example in examples.iter().filter(|example| !example.is_empty()).take(1) {
            self.line(format!("\n```json\n{}\n```", example.trim_end()));
        }
    }

    fn words(&mut self, title: &str, lead: &str, schema: &str) {
        self.line(format!("\n## {title}\n\n{lead}\n\n| word | means |\n|---|---|"));
        for word in self.document.at("components").at("schemas").at(schema).at("oneOf").items() {
            self.line(format!("| `{}` | {} |", word.text("const"), word.text("description")));
        }
    }

    fn schemas(&mut self) {
        self.line("\n## Bodies\n\nLater releases may add fields to answers: pass over what you do not know.");
        for (name, schema) in self.document.at("components").at("schemas").fields() {
            let fields = schema.at("properties").fields();
            if fields.is_empty() {
                continue;
            }
            self.line(format!("\n### {name}"));
            self.paragraph(schema.text("description"));
            self.line("\n| field | what | meaning |\n|---|---|---|");
            for (field, of) in fields {
                let required = schema.at("required").items().iter().any(|name| name.as_text() == field);
                let may = if required { "" } else { ", may be absent" };
                self.line(format!("| `{field}` | {}{may} | {} |", kind(of), meaning(of)));
            }
        }
    }

    fn resolved(&self, at: &'d Json) -> &'d Json {
        let path = at.text("$ref").trim_start_matches("#/");
        if path.is_empty() { at } else { path.split('/').fold(self.document, |at, part| at.at(part)) }
    }
}

fn role(operation: &Json) -> String {
    let security = operation.at("security").items();
    match security.first().and_then(|way| way.fields().first()) {
        None => "no token".into(),
        Some((_, roles)) => {
            roles.items().iter().map(|role| format!("`{}`", role.as_text())).collect::<Vec<_>>().join(", ")
        }
    }
}

/// As code hosts make the anchor of a heading.
fn anchor(title: &str) -> String {
    let kept = title.chars().filter(|c| c.is_alphanumeric() || *c == ' ' || *c == '-');
    kept.collect::<String>().to_lowercase().replace(' ', "-")
}

/// The words of an error's answer.
fn words(schema: &Json) -> String {
    let of = |part: &Json| {
        let words = part.at("properties").at("error").at("enum").items().iter();
        words.map(|word| format!("`{}`", word.as_text())).collect::<Vec<_>>()
    };
    schema.at("allOf").items().iter().flat_map(of).collect::<Vec<_>>().join(", ")
}

fn meaning(schema: &Json) -> String {
    let fields = schema.at("properties").fields().iter().map(|(name, _)| format!("`{name}`"));
    let fields = fields.collect::<Vec<_>>().join(", ");
    let description = schema.text("description");
    match (description.is_empty(), fields.is_empty()) {
        (true, _) => fields,
        (false, true) => description.to_owned(),
        (false, false) => format!("{} {fields}", description),
    }
}

/// What a value is, in a word or two.
fn kind(schema: &Json) -> String {
    if let Some(name) = schema.text("$ref").rsplit('/').next().filter(|name| !name.is_empty()) {
        return match name {
            "Name" => "name".into(),
            "Duration" => "duration".into(),
            "Time" => "time".into(),
            "Lane" => "lane".into(),
            "Outcome" => "[outcome](#outcomes)".into(),
            "ErrorCode" => "[word](#errors)".into(),
            "DrainPhase" => "`serving`, `delay`, `leaving` or `done`".into(),
            name => format!("[{name}](#{})", name.to_lowercase()),
        };
    }
    let words: Vec<String> =
        schema.at("enum").items().iter().map(|word| format!("`{}`", word.shown())).collect();
    if !words.is_empty() {
        return words.join(", ");
    }
    if let Some(only) = schema.get("const") {
        return format!("`{}`", only.shown());
    }
    match schema.at("type").shown().as_str() {
        "array" => format!("list of {}", kind(schema.at("items"))),
        "object" => "object".into(),
        "" => "any".into(),
        other => other.trim_matches(['[', ']']).replace('"', "").replace(',', " or "),
    }
}

/// The options of curl for a body, and what follows the address.
fn body((media, content): &(String, Json)) -> Option<(String, String)> {
    let example = content.get("example")?.shown();
    Some(match media.as_str() {
        "application/json" => (format!("--json '{example}'"), String::new()),
        "text/plain" => (format!("-H 'Content-Type: text/plain' -d '{example}'"), String::new()),
        _ => ("--data-binary @-".into(), format!(" <<'LINES'\n{example}LINES")),
    })
}
