//! The ready file: one line that says where the node listens, there only when it does.

use std::{io, net::SocketAddr, path::Path};

/// Writes it beside its place and renames it there, so that a reader sees all of it or nothing.
///
/// # Errors
/// When the directory cannot be written.
pub fn write(path: &Path, clients: &[SocketAddr], internal: SocketAddr) -> io::Result<()> {
    let line = serde_json::json!({
        "clients": clients.first().map(SocketAddr::to_string),
        "internal": internal.to_string(),
    });
    let mut beside = path.as_os_str().to_owned();
    beside.push(format!(".{}", std::process::id()));
    let result = std::fs::write(&beside, format!("{line}\n")).and_then(|()| std::fs::rename(&beside, path));
    result.map_err(|error| io::Error::new(error.kind(), format!("--ready-file {}: {error}", path.display())))
}
