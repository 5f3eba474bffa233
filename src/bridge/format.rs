//! The one number for the form of all that nodes give each other: records, leases and the frames of `POST /v1/deliver`.
//!
//! Owns the rule by which a fleet may run two releases at once, be upgraded, and be rolled back node by node: a node reads
//! the last two formats, says in its lease up to which it reads, and writes what its readers read. A record is read by any
//! node, so the oldest live one decides; a frame by one, which decides alone; a lease only ever gains fields. A node of which
//! nothing is known is written the oldest format that this build writes, which every node of such a fleet reads.

/// The highest format that this build reads, and writes once its readers do. Format 2 is for trying all of this: builds
/// with the feature `next-format` have it.
pub const FORMAT: u8 = if cfg!(feature = "next-format") { 2 } else { 1 };
/// The lowest format that this build reads.
pub const FORMAT_OLDEST: u8 = oldest(FORMAT);

/// The lowest format that a build reads and writes whose highest is `highest`.
pub const fn oldest(highest: u8) -> u8 {
    if highest > 1 { highest - 1 } else { 1 }
}

/// The format that a build writes whose highest is `highest`, for readers whose lowest highest is `readers`; None: it is not
/// known.
pub fn to_write(highest: u8, readers: Option<u8>) -> u8 {
    readers.unwrap_or(0).clamp(oldest(highest), highest)
}

/// Of the formats that a build reads whose highest is `highest`, the one of that name; None: it reads none such.
pub fn named(highest: u8, name: &[u8]) -> Option<u8> {
    (oldest(highest)..=highest).find(|format| format.to_string().as_bytes() == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_release_writes_the_one_before_and_the_one_after_read() {
        for own in 1..=254u8 {
            for other in [own.saturating_sub(1).max(1), own, own + 1] {
                let format = to_write(own, Some(other));
                assert!((oldest(own)..=own).contains(&format), "{own} writes what it knows");
                assert!((oldest(other)..=other).contains(&format), "{own} writes {format} for {other}");
                assert_eq!(format, own.min(other), "as high as both can");
            }
        }
    }

    #[test]
    fn a_reader_of_one_gets_two_only_if_that_is_what_it_reads() {
        // Highest of the writer, of the reader as far as it is known, and what is written.
        for (own, reader, written) in [
            (1, None, 1),
            (1, Some(1), 1),
            (1, Some(2), 1),
            (2, None, 1),
            (2, Some(0), 1),
            (2, Some(1), 1),
            (2, Some(2), 2),
            (2, Some(3), 2),
            (3, Some(1), 2),
        ] {
            assert_eq!(to_write(own, reader), written, "{own} for {reader:?}");
        }
    }

    #[test]
    fn a_name_is_that_of_a_format_that_is_read() {
        for (highest, name, format) in [
            (1, "1", Some(1)),
            (1, "2", None),
            (2, "1", Some(1)),
            (2, "2", Some(2)),
            (3, "1", None),
            (2, "", None),
            (2, "01", None),
            (2, "+1", None),
            (2, "1 ", None),
            (2, "257", None),
        ] {
            assert_eq!(named(highest, name.as_bytes()), format, "{highest} reads {name:?}");
        }
    }
}
