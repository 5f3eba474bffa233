//! The ready file: one line that says where the node listens, there only when it does.

use std::{io, net::SocketAddr, path::Path};

/// Writes it beside its place and renames it there, so that a reader sees all of it or nothing. Returns what was written.
///
/// # Errors
/// When the directory cannot be written.
pub fn write(
    path: &Path,
    clients: &[SocketAddr],
    internal: SocketAddr,
    kafka: Option<&str>,
) -> io::Result<String> {
    let mut places = serde_json::Map::new();
    // A processor has no clients, and only an embedded broker is here.
    if let Some(first) = clients.first() {
        places.insert("clients".to_owned(), first.to_string().into());
    }
    places.insert("internal".to_owned(), internal.to_string().into());
    if let Some(kafka) = kafka {
        places.insert("kafka".to_owned(), kafka.into());
    }
    let line = serde_json::Value::Object(places);
    let line = format!("{line}\n");
    let mut beside = path.as_os_str().to_owned();
    beside.push(format!(".{}", std::process::id()));
    let result = std::fs::write(&beside, &line).and_then(|()| std::fs::rename(&beside, path));
    match result {
        Ok(()) => Ok(line),
        Err(error) => Err(io::Error::new(error.kind(), format!("--ready-file {}: {error}", path.display()))),
    }
}

/// Removes it, unless another node has written its own there since.
pub fn remove(path: &Path, line: &str) {
    if std::fs::read_to_string(path).is_ok_and(|there| there == line) {
        let _ = std::fs::remove_file(path);
    }
}
