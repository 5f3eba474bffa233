//! The files of the admin page and of the demo, which are in the binary, and how browsers are to treat them.
//!
//! Owns the table of files. They say nothing of the node, so that they are given to whoever asks by a name of ours; what they
//! show they ask for with a token. They run nothing but what is in this table: no inline script, no other origin.

use super::{
    app::App,
    gate::Headers,
    reply::{Refusal, Reply, status_only, text},
};
use hyper::{
    HeaderMap, Response, StatusCode,
    header::{
        CACHE_CONTROL, CONTENT_SECURITY_POLICY, ETAG, HeaderValue, IF_NONE_MATCH, REFERRER_POLICY,
        X_CONTENT_TYPE_OPTIONS,
    },
    http::request::Parts,
};
use std::{
    hash::{DefaultHasher, Hasher},
    sync::LazyLock,
};

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const JS: &str = "text/javascript; charset=utf-8";

/// A page may load its own files and ask this port, and nothing else. The demo's `connect-src` also names the client ports.
const POLICY: [&str; 2] = [
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'",
    "; img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
];

struct File {
    path: &'static str,
    content_type: &'static str,
    bytes: &'static [u8],
}

macro_rules! files {
    ($($path:literal $content_type:ident $file:literal)*) => {
        &[$(File { path: $path, content_type: $content_type, bytes: include_bytes!(concat!("page/", $file)) }),*]
    };
}

static FILES: &[File] = files! {
    "/" HTML "index.html"
    "/page.css" CSS "page.css"
    "/page.js" JS "page.js"
    "/access.js" JS "access.js"
    "/api.js" JS "api.js"
    "/dom.js" JS "dom.js"
    "/drain.js" JS "drain.js"
    "/herd.js" JS "herd.js"
    "/history.js" JS "history.js"
    "/live.js" JS "live.js"
    "/plot.js" JS "plot.js"
    "/queue.js" JS "queue.js"
    "/rates.js" JS "rates.js"
    "/user.js" JS "user.js"
    "/words.js" JS "words.js"
    "/demo" HTML "demo.html"
    "/demo.css" CSS "demo.css"
    "/demo.js" JS "demo.js"
};

/// One for each file: it changes when the file does.
static TAGS: LazyLock<Vec<HeaderValue>> = LazyLock::new(|| FILES.iter().map(tag).collect());

fn tag(file: &File) -> HeaderValue {
    let mut hasher = DefaultHasher::new();
    hasher.write(file.bytes);
    let text = format!("\"{:016x}\"", hasher.finish());
    HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("\"\""))
}

/// A place in the table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PageFile(usize);

impl PageFile {
    /// The file at a path.
    pub fn at(path: &str) -> Option<Self> {
        FILES.iter().position(|file| file.path == path).map(PageFile)
    }
}

/// `GET` of a file.
///
/// # Errors
/// 400 for a Host that no page can be shown under.
pub fn page(app: &App, PageFile(at): PageFile, parts: &Parts) -> Result<Response<Reply>, Refusal> {
    let (Some(file), Some(tag)) = (FILES.get(at), TAGS.get(at)) else {
        return Err(Refusal::new(StatusCode::NOT_FOUND, "not_found", "there is nothing at this path"));
    };
    let policy = match file.path {
        "/demo" => {
            let headers = Headers::of(&parts.headers, &app.identity());
            super::demo::sources(app, headers.host())?
        }
        _ => String::new(),
    };
    let policy = HeaderValue::try_from(POLICY.join(&policy))
        .map_err(|_| Refusal::bad_request("bad_host", "this Host name cannot be used"))?;
    let mut response = match parts.headers.get(IF_NONE_MATCH) {
        Some(known) if is_known(known, tag) => status_only(StatusCode::NOT_MODIFIED, HeaderMap::new()),
        _ => text(StatusCode::OK, file.content_type, file.bytes),
    };
    let headers = response.headers_mut();
    headers.insert(ETAG, tag.clone());
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(CONTENT_SECURITY_POLICY, policy);
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    Ok(response)
}

/// Whether the browser has the file already (RFC 9110 13.1.2: a weak comparison).
fn is_known(known: &HeaderValue, tag: &HeaderValue) -> bool {
    let same = |one: &[u8]| one == b"*" || one.strip_prefix(b"W/").unwrap_or(one) == tag.as_bytes();
    known.as_bytes().split(|&byte| byte == b',').any(|one| same(one.trim_ascii()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_browser_that_has_the_file_is_told_so() {
        let tag = HeaderValue::from_static("\"ab\"");
        for (known, expected) in
            [("\"ab\"", true), ("\"x\", W/\"ab\"", true), ("*", true), ("\"a\"", false), ("", false)]
        {
            assert_eq!(is_known(&HeaderValue::from_static(known), &tag), expected, "{known}");
        }
    }

    #[test]
    fn every_file_has_its_own_path_and_nothing_runs_inline() {
        for (at, file) in FILES.iter().enumerate() {
            assert_eq!(PageFile::at(file.path), Some(PageFile(at)), "{}", file.path);
            assert!(!file.bytes.is_empty());
            if file.content_type == HTML {
                let text = std::str::from_utf8(file.bytes).unwrap();
                for inline in ["<script>", "<style", " style=", " onclick=", "javascript:"] {
                    assert!(!text.contains(inline), "{} has {inline}", file.path);
                }
            }
        }
        assert_eq!(PageFile::at("/index.html"), None);
    }
}
