//! The ready file: one line that says where the node listens, there only when it does.

use std::{io, net::SocketAddr, path::Path};

/// Writes it beside its place and renames it there, so that a reader sees all of it or nothing. Returns what was written.
///
/// # Errors
/// When the directory cannot be written.
pub fn write(path: &Path, clients: &[SocketAddr], internal: SocketAddr) -> io::Result<String> {
    let line = serde_json::json!({
        "clients": clients.first().map(SocketAddr::to_string),
        "internal": internal.to_string(),
    });
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
