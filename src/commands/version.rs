//! `holdfast version`: what this program is.

use super::print;

pub fn main() -> i32 {
    let (system, processor) = (std::env::consts::OS, std::env::consts::ARCH);
    print(&format!("holdfast {} ({processor}-{system})\n", env!("CARGO_PKG_VERSION")))
}
