//! A headless Chromium with one tab on a page of the node's, driven by the DevTools protocol: what a person would do, and what
//! they would see.

use crate::{
    browser::Browser,
    client::{TEXT, Ws, upgrade},
    http::Wire,
    node::{PATIENCE, until},
};
use base64::Engine;
use serde_json::{Value, json};
use std::net::SocketAddr;

/// An open tab, closed with its browser when it goes out of scope.
pub struct Tab {
    // Keeps it running.
    _browser: Browser,
    socket: Ws,
    asked: u64,
    /// What the page has complained of: exceptions, errors that it logged, and what its policy refused. Answers of the network
    /// are none.
    pub complaints: Vec<String>,
}

impl Tab {
    /// Opens a page, and waits until it is loaded.
    pub fn open(url: &str) -> Self {
        let browser = Browser::start(&["--remote-debugging-port=0", "about:blank"]);
        let port: u16 =
            until("the browser's port", || browser.file("DevToolsActivePort")?.lines().next()?.parse().ok());
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let target = until("a tab", || {
            let tabs = Wire::try_connect(address)?.try_ask("GET", "/json/list", &[], b"").ok()?.json();
            let tab = tabs.as_array()?.iter().find(|tab| tab["type"] == "page")?.clone();
            Some(tab["webSocketDebuggerUrl"].as_str()?.split_once(&format!("{port}"))?.1.to_owned())
        });
        let mut wire = Wire::connect(address);
        // It answers to an address, and to no other name.
        let request = String::from_utf8(upgrade(&target, &[])).unwrap();
        wire.send(request.replace("push.example", &address.to_string()).as_bytes());
        let socket = Ws::after_request(wire).unwrap_or_else(|answer| panic!("{answer:?}"));
        let mut tab = Self { _browser: browser, socket, asked: 0, complaints: Vec::new() };
        for domain in ["Page", "Runtime", "Log"] {
            tab.ask(&format!("{domain}.enable"), &json!({}));
        }
        tab.go(url);
        tab
    }

    /// Opens another page in the tab.
    pub fn go(&mut self, url: &str) {
        let gone = self.ask("Page.navigate", &json!({ "url": url }));
        assert_eq!(gone["errorText"], Value::Null, "{url}");
        self.wait("document.readyState === 'complete' && location.href !== 'about:blank'");
    }

    /// What an expression of the page comes to; a promise is waited for.
    pub fn eval(&mut self, expression: &str) -> Value {
        let parameters = json!({ "expression": expression, "awaitPromise": true, "returnByValue": true });
        let answer = self.ask("Runtime.evaluate", &parameters);
        assert_eq!(answer["exceptionDetails"], Value::Null, "{expression}: {answer}");
        answer["result"]["value"].clone()
    }

    /// Waits until an expression is true.
    pub fn wait(&mut self, expression: &str) {
        let began = std::time::Instant::now();
        while self.eval(expression) != true {
            if began.elapsed() > PATIENCE {
                let shown = self.eval("document.body.innerText");
                panic!(
                    "waited in vain for {expression}; the page shows {shown}, and said {:?}",
                    self.complaints
                );
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }

    /// Waits until an element shows a text.
    pub fn wait_for(&mut self, selector: &str, text: &str) {
        self.wait(&format!(
            "document.querySelector({}).innerText.includes({})",
            json!(selector),
            json!(text)
        ));
    }

    /// Sets a field, as if it were typed.
    pub fn fill(&mut self, selector: &str, text: &str) {
        self.eval(&format!(
            "(() => {{ const field = document.querySelector({}); field.focus(); field.select(); }})()",
            json!(selector)
        ));
        self.ask("Input.insertText", &json!({ "text": text }));
    }

    /// Presses a key, such as Enter or Shift+Tab, wherever the focus is.
    pub fn press(&mut self, key: &str) {
        let (modifiers, key) = key.strip_prefix("Shift+").map_or((0, key), |key| (8, key));
        let (code, text) = match key {
            "Enter" => (13, "\r"),
            "Tab" => (9, ""),
            "Escape" => (27, ""),
            "ArrowRight" => (39, ""),
            other => panic!("the code of {other}"),
        };
        let mut parameters = json!({
            "key": key, "code": key, "windowsVirtualKeyCode": code, "text": text, "modifiers": modifiers,
        });
        for kind in ["keyDown", "keyUp"] {
            parameters["type"] = kind.into();
            self.ask("Input.dispatchKeyEvent", &parameters);
        }
    }

    /// Clicks an element.
    pub fn click(&mut self, selector: &str) {
        self.eval(&format!("document.querySelector({}).click()", json!(selector)));
    }

    /// Makes the page so wide, high, and light or dark.
    pub fn shape(&mut self, width: u32, height: u32, scheme: &str) {
        let size = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600 });
        self.ask("Emulation.setDeviceMetricsOverride", &size);
        let features = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
        self.ask("Emulation.setEmulatedMedia", &json!({ "features": features }));
    }

    /// What it looks like, as a PNG.
    pub fn picture(&mut self) -> Vec<u8> {
        let answer = self.ask("Page.captureScreenshot", &json!({ "format": "png" }));
        base64::prelude::BASE64_STANDARD.decode(answer["data"].as_str().unwrap()).unwrap()
    }

    /// Names, by role, of all that a screen reader would stop at: `button Connect`.
    pub fn spoken(&mut self) -> Vec<String> {
        let tree = self.ask("Accessibility.getFullAXTree", &json!({}));
        let nodes = tree["nodes"].as_array().unwrap().iter().filter(|node| node["ignored"] != true);
        let word = |node: &Value, key: &str| node[key]["value"].as_str().unwrap_or_default().to_owned();
        nodes.map(|node| format!("{} {}", word(node, "role"), word(node, "name"))).collect()
    }

    /// One command of the protocol, and its result.
    pub fn ask(&mut self, method: &str, parameters: &Value) -> Value {
        self.asked += 1;
        let question = json!({ "id": self.asked, "method": method, "params": parameters });
        self.socket.send(TEXT, question.to_string().as_bytes());
        loop {
            let heard: Value = serde_json::from_str(&self.socket.text()).unwrap();
            if heard["id"] == self.asked {
                assert_eq!(heard["error"], Value::Null, "{method} {parameters}");
                return heard["result"].clone();
            }
            self.hear(&heard);
        }
    }

    fn hear(&mut self, heard: &Value) {
        let details = match heard["method"].as_str() {
            Some("Runtime.exceptionThrown") => &heard["params"]["exceptionDetails"],
            Some("Log.entryAdded") => &heard["params"]["entry"],
            Some("Runtime.consoleAPICalled") if heard["params"]["type"] == "error" => &heard["params"],
            _ => return,
        };
        let is_quiet = details["source"] == "network" || details["level"] == "verbose";
        if is_quiet {
            return;
        }
        self.complaints.push(details.to_string());
    }
}
