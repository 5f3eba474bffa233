//! What the process has used of the processors, asked at a scrape.

/// The unit of times in `/proc`, a second's part: fixed on Linux (`USER_HZ`, proc_pid_stat(5)).
const TICKS_PER_SECOND: f64 = 100.0;
/// `utime` behind the closing bracket of the name, counted from 0 (proc_pid_stat(5), fields 14 and 15).
const USER_TIME: usize = 11;

/// User and system time of all threads since the start, seconds, in steps of 10 ms. 0 where it cannot be had.
pub fn seconds() -> f64 {
    used(&std::fs::read_to_string("/proc/self/stat").unwrap_or_default()).unwrap_or(0.0)
}

fn used(stat: &str) -> Option<f64> {
    // The name may hold brackets and blanks itself.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut times = fields.split_ascii_whitespace().skip(USER_TIME).map(str::parse::<u32>);
    let (user, system) = (times.next()?.ok()?, times.next()?.ok()?);
    Some((f64::from(user) + f64::from(system)) / TICKS_PER_SECOND)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_user_and_system_time() {
        let stat = "7 (a ) b) S 1 7 7 0 -1 4194560 90 0 0 0 250 31 0 0 20 0 3 0 5 1 1";
        assert_eq!(used(stat), Some(2.81));
        for bad in ["", "7 (a) S 1", "7 (a) S 1 7 7 0 -1 4194560 90 0 0 0 x 31 0"] {
            assert_eq!(used(bad), None, "{bad}");
        }
        assert!(used(&std::fs::read_to_string("/proc/self/stat").unwrap()).is_some());
    }
}
