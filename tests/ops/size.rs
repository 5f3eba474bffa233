//! `holdfast size` from outside: exit codes, JSON, the page, and what is said of bad files.

use crate::node::without_our_environment;
use serde_json::Value;
use std::process::Command;

struct Ran {
    code: i32,
    out: String,
    err: String,
}

fn size(args: &[&str]) -> Ran {
    let mut command = Command::new(env!("CARGO_BIN_EXE_holdfast"));
    without_our_environment(&mut command);
    let output = command.arg("size").args(args).output().unwrap();
    Ran {
        code: output.status.code().unwrap(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

#[test]
fn a_fleet_is_recommended_in_words_in_json_and_on_a_page() {
    let folder = tempfile::tempdir().unwrap();
    let page = folder.path().join("fleet.html");
    let ran = size(&["--connections", "10M", "--html", page.to_str().unwrap()]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(
        ran.out.contains("recommended") && ran.out.contains("\nTake ") && ran.out.contains("check them"),
        "{}",
        ran.out
    );
    let page = std::fs::read_to_string(page).unwrap();
    assert!(page.contains("10,000,000 connections") && page.contains("<svg"));

    let ran = size(&["--connections", "10M", "--plain", "--json"]);
    let answer: Value = serde_json::from_str(&ran.out).unwrap();
    let best = &answer["recommended"];
    assert_eq!((ran.code, &best["good"], &answer["front"]), (0, &true.into(), &Value::Null));
    let cheaper = answer["fleets"].as_array().unwrap().iter().filter(|fleet| fleet["good"] == true);
    assert!(cheaper.clone().all(
        |fleet| fleet["cost_per_hour"].as_f64() >= best["cost_per_hour"].as_f64().map(|cost| cost * 0.95)
    ));
    assert!(cheaper.count() > 3);
}

#[test]
fn types_of_ones_own_are_read_and_faults_in_them_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("types.toml");
    let examples = size(&["--print-types"]);
    assert_eq!(examples.code, 0);
    std::fs::write(&file, &examples.out).unwrap();
    let path = file.to_str().unwrap();
    assert_eq!(size(&["--connections", "1M", "--types", path]).out, size(&["--connections", "1M"]).out);

    let cases = [
        (
            "[[type]]\nname = \"a\"\ncores = 2\nmemory = \"4GiB\"\n",
            "line 1: the type `a` has no price: write `price = 0.17`",
        ),
        (
            "[[type]]\nname = \"a\"\nmemory = \"4GiB\"\nprice = 1\n",
            "line 1: the type `a` has no cores: write `cores = 4`",
        ),
        (
            "\n[[type]]\nnmae = \"a\"\n",
            "line 3: unknown key `nmae`, expected one of `name`, `cores`, `memory`, `price`",
        ),
        ("", "line 1: 0 types of node"),
    ];
    for (text, words) in cases {
        std::fs::write(&file, text).unwrap();
        let ran = size(&["--connections", "1M", "--types", path]);
        assert!(ran.code == 1 && ran.err.contains(&format!("{path}, {words}")), "{}", ran.err);
    }
    let ran = size(&["--connections", "1M", "--types", "/nowhere/types.toml"]);
    assert!(
        ran.code == 1 && ran.err.contains("cannot read the node types in /nowhere/types.toml: "),
        "{}",
        ran.err
    );
}

#[test]
fn questions_without_an_answer_are_told() {
    let cases: [(&[&str], i32, &str); 6] = [
        (&[], 2, "--connections <N>"),
        (&["--connections", "10MM"], 2, "`10MM` is no number: write it like 250000, 250k, 1.5M or 1G"),
        (&["--connections", "0"], 2, "`0` is no number: there must be at least one"),
        (&["--connections", "1M", "--nodes-most", "0"], 2, "a fleet of no nodes holds nothing"),
        (&["--connections", "1M", "--lifetime", "30"], 2, "`30` is no duration: write it with its unit"),
        (&["--connections", "1M", "--target", "0.95"], 2, "the target must not be above the ceiling"),
    ];
    for (args, code, words) in cases {
        let ran = size(args);
        assert!(ran.code == code && ran.err.contains(words), "{args:?}: {}", ran.err);
    }
    let ran = size(&["--connections", "1G", "--nodes-most", "3"]);
    assert_eq!(ran.code, 1, "{}", ran.out);
    assert!(
        ran.out.contains("No fleet of these types will do with at most 3 nodes: give larger types"),
        "{}",
        ran.out
    );
}
