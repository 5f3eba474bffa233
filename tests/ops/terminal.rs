//! A terminal with the program in it, as a person would see it: the kernel's own pseudo-terminal, and an emulator by others.

use crate::python::Helper;
use serde_json::Value;

const SCRIPT: &str = include_str!("terminal.py");

/// The program in a terminal; killed when it goes out of scope.
pub struct Terminal {
    helper: Helper,
}

impl Terminal {
    /// Starts the program with arguments in a window of so many columns and lines.
    pub fn start((columns, lines): (u16, u16), arguments: &[&str]) -> Self {
        let (columns, lines) = (columns.to_string(), lines.to_string());
        let mut all = vec![columns.as_str(), &lines, env!("CARGO_BIN_EXE_holdfast")];
        all.extend(arguments);
        Self { helper: Helper::start(&[], SCRIPT, &all) }
    }

    /// Waits until all of these words are on the screen, and gives its lines.
    pub fn wait(&mut self, words: &[&str]) -> Vec<String> {
        let answer = self.ask(&format!("wait {}", words.join("|")));
        let lines = answer["screen"].as_array().unwrap().iter();
        let screen: Vec<String> = lines.map(|line| line.as_str().unwrap().to_owned()).collect();
        assert_eq!(answer["seen"], true, "waited in vain for {words:?}:\n{}", screen.join("\n"));
        screen
    }

    pub fn press(&mut self, keys: &str) {
        self.helper.tell(&format!("press {keys}"));
    }

    pub fn resize(&mut self, columns: u16, lines: u16) {
        self.helper.tell(&format!("size {columns} {lines}"));
    }

    /// Sends the program a signal by its name without SIG.
    pub fn signal(&mut self, name: &str) {
        self.helper.tell(&format!("signal {name}"));
    }

    /// Waits for the program's end. Gives the exit code; the terminal must be as it was.
    pub fn end(&mut self) -> i64 {
        let answer = self.ask("end");
        assert_eq!(answer["restored"], true, "the terminal is not as it was: {answer}");
        answer["code"].as_i64().expect("an end")
    }

    fn ask(&mut self, line: &str) -> Value {
        self.helper.tell(line);
        serde_json::from_str(&self.helper.line()).unwrap()
    }
}
