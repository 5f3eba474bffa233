//! The bodies of the fuzz targets, on their corpus and on random changes of it: a fuzzer's first steps without the fuzzer.
//!
//! A finding of the fuzzer becomes a file of `fuzz/corpus/<target>/`, and stays found.

#[path = "../fuzz/src/lib.rs"]
mod bodies;

use std::{fs, panic, path::PathBuf, time::Instant};

/// Changed inputs for each target: together a second or two in a debug build.
const CHANGED: usize = 2000;
/// What parsers ask about: line ends, separators, quotes, the ends of ranges.
const INTERESTING: &[u8] = b"\0\x01\r\n \t\"%+,;:=&?.[]{}/09aAzZ\x7e\x7f\x80\x81\x88\xbf\xc0\xc1\xed\xfe\xff";
const INPUT_BYTES_MAX: usize = 4096;

fn corpus(name: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(name);
    let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files.into_iter().map(|file| (file.clone(), fs::read(file).unwrap())).collect()
}

/// Changes an input in one to four places, as a fuzzer does.
fn change(input: &mut Vec<u8>, other: &[u8], dice: &mut fastrand::Rng) {
    for _ in 0..dice.usize(1..=4) {
        let at = dice.usize(..=input.len());
        let end = dice.usize(at..=input.len().min(at + 32));
        match dice.u8(..8) {
            0 => input.truncate(at),
            1 => drop(input.drain(at..end)),
            2 => input.insert(at, dice.u8(..)),
            3 => input.insert(at, dice.choice(INTERESTING).copied().unwrap()),
            4 => {
                let again = input[at..end].to_vec();
                input.splice(at..at, again);
            }
            5 => {
                let from = dice.usize(..=other.len());
                let to = dice.usize(from..=other.len());
                input.splice(at..end, other[from..to].iter().copied());
            }
            6 => {
                if let Some(byte) = input.get_mut(at) {
                    *byte ^= 1 << dice.u8(..8);
                }
            }
            _ => {
                if let Some(byte) = input.get_mut(at) {
                    *byte = dice.choice(INTERESTING).copied().unwrap();
                }
            }
        }
    }
    input.truncate(INPUT_BYTES_MAX);
}

fn run(name: &str, body: fn(&[u8]), origin: &str, input: &[u8]) {
    if let Err(cause) = panic::catch_unwind(|| body(input)) {
        eprintln!("target {name}, {origin}, input b\"{}\"", input.escape_ascii());
        panic::resume_unwind(cause);
    }
}

fn check(name: &str) {
    let &(_, body) = bodies::TARGETS.iter().find(|(target, _)| *target == name).unwrap();
    let (files, begun) = (corpus(name), Instant::now());
    assert!(files.len() >= 5, "the corpus of {name} is too small to start from");
    for (file, input) in &files {
        run(name, body, &file.display().to_string(), input);
    }
    for round in 0..CHANGED {
        // Each round has a seed of its own, so that it can be run alone.
        let mut dice = fastrand::Rng::with_seed(round as u64);
        let (file, input) = &files[round % files.len()];
        let mut input = input.clone();
        change(&mut input, &files[dice.usize(..files.len())].1, &mut dice);
        run(name, body, &format!("round {round}, from {}", file.display()), &input);
    }
    println!("{name}: {} files, {CHANGED} changed, {:?}", files.len(), begun.elapsed());
}

macro_rules! targets {
    ($($name:ident)*) => {
        $(#[test]
        fn $name() {
            check(stringify!($name));
        })*

        #[test]
        fn every_target_is_run() {
            assert_eq!(bodies::TARGETS.map(|(name, _)| name), [$(stringify!($name)),*]);
        }
    };
}

targets!(config credentials deflate deliver head proxy sse websocket);
