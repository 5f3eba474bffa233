//! The terminal: keys from it, screens to it, and whatever happens, back to how it was.
//!
//! Owns the loop and the thread that reads the fleet, so that a node that hangs never holds up a key.

use super::{App, Key};
use crate::ops::fleet::{Fleet, View};
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use std::{
    io,
    sync::{
        atomic::{AtomicBool, Ordering::Relaxed},
        mpsc::{Receiver, RecvTimeoutError, Sender, TryRecvError, channel},
    },
    thread,
    time::Duration,
};

/// How soon a new reading, or a signal, is seen.
const LOOK: Duration = Duration::from_millis(50);

/// Shows the fleet until a person or `stop` ends it.
///
/// # Errors
/// When the terminal cannot be used, or is gone.
pub fn run(fleet: Fleet, every: Duration, stop: &AtomicBool) -> io::Result<()> {
    let (views, (stopped, ends)) = (channel(), channel::<()>());
    let (to_screen, from_fleet) = views;
    thread::Builder::new().name("fleet".into()).spawn(move || read(fleet, every, &to_screen, &ends))?;
    // A panic restores the terminal, too.
    let shown = ratatui::try_init().and_then(|mut terminal| {
        let mut app = App::new(every);
        let shown = show(&mut terminal, &mut app, &from_fleet, stop);
        terminal.show_cursor().and(shown)
    });
    let restored = ratatui::try_restore();
    drop(stopped);
    shown.and(restored)
}

/// Reads the fleet again and again, until nobody looks.
fn read(mut fleet: Fleet, every: Duration, screen: &Sender<View>, ends: &Receiver<()>) {
    while screen.send(fleet.read()).is_ok() && ends.recv_timeout(every) == Err(RecvTimeoutError::Timeout) {}
}

fn show(
    terminal: &mut ratatui::DefaultTerminal,
    app: &mut App,
    views: &Receiver<View>,
    stop: &AtomicBool,
) -> io::Result<()> {
    let mut is_new = true;
    while !app.is_done() && !stop.load(Relaxed) {
        if is_new {
            terminal.draw(|frame| app.draw(frame))?;
        }
        is_new = event::poll(LOOK)? && take(app, &event::read()?);
        match views.try_recv() {
            Ok(view) => {
                app.update(view);
                is_new = true;
            }
            Err(TryRecvError::Empty) => {}
            Err(TryRecvError::Disconnected) => {
                return Err(io::Error::other("the reading of the fleet has failed"));
            }
        }
    }
    Ok(())
}

/// Whether there is something new to draw.
fn take(app: &mut App, event: &Event) -> bool {
    match event {
        Event::Resize(..) => true,
        Event::Key(event) if event.kind != KeyEventKind::Release => match key(*event) {
            Some(key) => {
                app.key(key);
                true
            }
            None => false,
        },
        _ => false,
    }
}

fn key(event: KeyEvent) -> Option<Key> {
    let with_control = event.modifiers.contains(KeyModifiers::CONTROL);
    Some(match event.code {
        KeyCode::Char('c') if with_control => Key::Interrupt,
        KeyCode::Char(_) if with_control || event.modifiers.contains(KeyModifiers::ALT) => return None,
        KeyCode::Char(c) => Key::Char(c),
        KeyCode::Up => Key::Up,
        KeyCode::Down => Key::Down,
        KeyCode::PageUp => Key::PageUp,
        KeyCode::PageDown => Key::PageDown,
        KeyCode::Home => Key::Home,
        KeyCode::End => Key::End,
        KeyCode::Enter => Key::Enter,
        KeyCode::Esc => Key::Escape,
        KeyCode::Backspace => Key::Backspace,
        _ => return None,
    })
}
