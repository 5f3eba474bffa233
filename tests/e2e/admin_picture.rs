//! The picture of the admin page in `docs/page.md`: a node under load, one half as a light page and the other as a dark one.
//!
//! `UPDATE_DOCS=1 cargo test --test e2e admin_picture::` takes it anew, which lasts two minutes; otherwise it is only looked at.

use crate::{client::Ws, loadtest, node::Plan, tab::Tab};
use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::json;
use std::{
    fs,
    path::Path,
    process::Stdio,
    time::{Duration, Instant},
};

const WIDTH: u32 = 1_120;
const HEIGHT: u32 = 1_056;
/// More is too much for a repository.
const BYTES_MAX: usize = 200_000;
/// Long enough for the plots to have something to show.
const SEEN: Duration = Duration::from_secs(110);
const DEVICES: [&str; 3] = ["phone", "tablet", "tv"];
/// Two pictures in one, with a slanting border.
const SPLIT: &str = "Promise.all(PICTURES.map((picture) => {
    const image = new Image();
    image.src = `data:image/png;base64,${picture}`;
    image.style.cssText = 'position: absolute; left: 0; top: 0';
    document.body.append(image);
    return image.decode();
})).then(() => { document.body.lastChild.style.clipPath = 'polygon(64% 0, 100% 0, 100% 100%, 48% 100%)'; return true; })";

#[test]
fn the_picture_in_the_docs_is_one_of_the_page() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/page.png");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, taken()).unwrap();
    }
    let picture = fs::read(&path).expect("docs/page.png: UPDATE_DOCS=1 takes it");
    let number = |at: usize| u32::from_be_bytes(picture[at..at + 4].try_into().unwrap());
    assert_eq!((&picture[1..4], number(16), number(20)), (&b"PNG"[..], WIDTH, HEIGHT));
    assert!(picture.len() < BYTES_MAX, "{} bytes", picture.len());
    assert!(fs::read_to_string(path.with_extension("md")).unwrap().contains("](page.png)"));
}

fn taken() -> Vec<u8> {
    let sets = ["lifetime.mean=150s", "node.region=eu-west-1", "lifetime.grace=2s"];
    let node = Plan::new(&sets).id("edge-7f2b").shards(4).kafka("embedded").start();
    let args =
        ["lifetimes", "--connections", "6000", "--sse-share", "0.3", "--rate", "500", "--hold", "150s"];
    let mut load = loadtest::command(node.clients, node.internal, &args);
    let mut load = load.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let mut tab = Tab::open(&format!("http://{}/", node.internal));
    tab.shape(WIDTH, HEIGHT, "light");
    tab.ask("Emulation.setScrollbarsHidden", &json!({ "hidden": true }));
    let until = Instant::now() + SEEN;
    let mut sent = 0;
    while Instant::now() < until {
        // Their lives end, too.
        let mut devices = DEVICES.map(|device| Ws::user(&node, "ada", device));
        for _ in 0..100 {
            let target = ["ada/push?lane=high", "ada/push", "ada/push?lane=low", "grace/push"][sent % 4];
            node.ask("POST", &format!("/v1/users/{target}"), b"hello");
            for ws in &mut devices {
                while ws.next(Duration::from_millis(1)).is_ok() {}
            }
            sent += 1;
        }
        devices.into_iter().for_each(Ws::close);
    }
    let pictures = ["light", "dark"].map(|scheme| {
        tab.shape(WIDTH, HEIGHT, scheme);
        std::thread::sleep(Duration::from_millis(300));
        BASE64_STANDARD.encode(tab.picture())
    });
    let _ = load.kill();
    let _ = load.wait();
    // The page's own policy lets no script show it pictures of elsewhere.
    tab.go("data:text/html,<body></body>");
    tab.eval(&SPLIT.replace("PICTURES", &json!(pictures).to_string()));
    tab.picture()
}
