//! A worker process: started, spoken to by its stdin and stdout, which are one socket, and waited for.

use socket2::{Domain, Socket, Type};
use std::{
    ffi::OsString,
    io::{self, Read},
    os::{
        fd::OwnedFd,
        unix::process::{CommandExt, ExitStatusExt},
    },
    process::{Child as Process, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex, PoisonError},
    thread::JoinHandle,
    time::{Duration, Instant},
};

/// What is kept of a child's stderr: its last words, bytes.
const WORDS_BYTES: usize = 4_096;
/// Between two looks at a child that is to end.
const LOOK: Duration = Duration::from_millis(5);
/// How long the rest of its stderr is waited for once it has ended: a process that it has started may hold it open.
const WORDS_PATIENCE: Duration = Duration::from_millis(500);

/// A process that has clients for us. It ends when its stdin does, so that none stays when we end in whatever way.
pub struct Child {
    process: Process,
    words: Arc<Mutex<Vec<u8>>>,
    reader: JoinHandle<()>,
}

/// How a child ended.
pub struct End {
    status: Option<ExitStatus>,
    /// It did not by itself.
    killed: bool,
    words: String,
}

impl Child {
    /// Starts it, and gives the end of the socket by which it is spoken to.
    ///
    /// It gets a process group of its own: Ctrl-C of the terminal is for the parent alone, which ends its children in order.
    pub fn start(command: &[OsString]) -> io::Result<(Self, Socket)> {
        let (program, args) = command.split_first().ok_or(io::ErrorKind::InvalidInput)?;
        let (ours, theirs) = Socket::pair(Domain::UNIX, Type::STREAM, None)?;
        let stdin = OwnedFd::from(theirs.try_clone()?);
        let mut process = Command::new(program)
            .args(args)
            .stdin(Stdio::from(stdin))
            .stdout(Stdio::from(OwnedFd::from(theirs)))
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()?;
        let words = Arc::new(Mutex::new(Vec::new()));
        let kept = words.clone();
        let stderr = process.stderr.take();
        let reader = std::thread::Builder::new().name("load-words".into()).stack_size(128 * 1024);
        let reader = reader.spawn(move || {
            if let Some(stderr) = stderr {
                keep(stderr, &kept);
            }
        });
        match reader {
            Ok(reader) => Ok((Self { process, words, reader }, ours)),
            Err(error) => {
                let _ = process.kill();
                let _ = process.wait();
                Err(error)
            }
        }
    }

    /// Waits until it has ended, by force when that takes longer than this.
    pub fn end(&mut self, patience: Duration) -> End {
        let deadline = Instant::now() + patience;
        let mut killed = false;
        let status = loop {
            match self.process.try_wait() {
                Ok(Some(status)) => break Some(status),
                Err(_) => break None,
                Ok(None) if Instant::now() < deadline => std::thread::sleep(LOOK),
                Ok(None) => {
                    killed = true;
                    // It may have ended just now.
                    let _ = self.process.kill();
                    break self.process.wait().ok();
                }
            }
        };
        let deadline = Instant::now() + WORDS_PATIENCE;
        while !self.reader.is_finished() && Instant::now() < deadline {
            std::thread::sleep(LOOK);
        }
        let words = self.words.lock().unwrap_or_else(PoisonError::into_inner);
        End { status, killed, words: String::from_utf8_lossy(&words).trim().to_owned() }
    }
}

/// Keeps the last of what comes.
fn keep(mut from: impl Read, kept: &Mutex<Vec<u8>>) {
    let mut piece = [0; 1_024];
    loop {
        match from.read(&mut piece) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Ok(0) | Err(_) => return,
            Ok(count) => {
                let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
                kept.extend_from_slice(&piece[..count]);
                let over = kept.len().saturating_sub(WORDS_BYTES);
                kept.drain(..over);
            }
        }
    }
}

impl End {
    /// "was ended by signal 9", and what to think of it.
    pub fn words(&self) -> (String, String) {
        let signal = self.status.and_then(|status| status.signal());
        let what = match (self.status, signal) {
            _ if self.killed => "did not answer any more and was killed".to_owned(),
            (_, Some(signal)) => format!("was ended by signal {signal}"),
            (Some(status), None) => format!("ended with status {}", status.code().unwrap_or(-1)),
            (None, None) => "has ended".to_owned(),
        };
        let why = match signal {
            Some(9) if !self.killed => "; out of memory? (dmesg)".to_owned(),
            _ => String::new(),
        };
        let said = if self.words.is_empty() { String::new() } else { format!("; it said: {}", self.words) };
        (what, why + &said)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(script: &str, patience: Duration) -> String {
        let command = ["sh", "-c", script].map(OsString::from);
        let (mut child, _socket) = Child::start(&command).unwrap();
        let (what, why) = child.end(patience).words();
        what + &why
    }

    #[test]
    fn how_a_child_ended_is_told_with_its_last_words() {
        let patience = Duration::from_secs(20);
        assert_eq!(ended("kill -9 $$", patience), "was ended by signal 9; out of memory? (dmesg)");
        assert_eq!(ended("echo too bad >&2; exit 3", patience), "ended with status 3; it said: too bad");
        let much = ended("yes | head -c 100000 >&2; echo the end >&2", patience);
        assert!(much.starts_with("ended with status 0; it said: ") && much.ends_with("the end"), "{much}");
        assert!((3_000..4_200).contains(&much.len()), "{}", much.len());
        let slow = ended("exec sleep 60", Duration::from_millis(50));
        assert_eq!(slow, "did not answer any more and was killed");
        assert!(Child::start(&["/nowhere/at/all".into()]).is_err() && Child::start(&[]).is_err());
    }

    #[test]
    fn a_child_is_in_a_group_of_its_own() {
        let command = ["sh", "-c", "cut -d' ' -f5 /proc/$$/stat; echo $$"].map(OsString::from);
        let (mut child, socket) = Child::start(&command).unwrap();
        let mut text = String::new();
        (&socket).read_to_string(&mut text).unwrap();
        let numbers: Vec<&str> = text.lines().collect();
        assert!(numbers.len() == 2 && numbers[0] == numbers[1], "{text}");
        child.end(Duration::from_secs(20));
    }
}
