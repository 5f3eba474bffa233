//! Lines out of chunks that are cut anywhere.

use bytes::{Buf, Bytes};

/// A line that was longer than allowed; it was passed over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct TooLong;

/// Holds at most one chunk and the beginning of one line.
pub(super) struct Lines {
    chunk: Bytes,
    /// The beginning of a line, from earlier chunks.
    begun: Vec<u8>,
    passing_over: bool,
    bytes_max: usize,
}

impl Lines {
    /// Lines of at most so many bytes each.
    pub fn new(bytes_max: usize) -> Self {
        Self { chunk: Bytes::new(), begun: Vec::new(), passing_over: false, bytes_max }
    }

    /// The next chunk. To be called when [`Lines::next`] has given None.
    pub fn feed(&mut self, chunk: Bytes) {
        debug_assert!(self.chunk.is_empty());
        self.chunk = chunk;
    }

    /// The next line without its end; None when more bytes are needed, or, when the input has `ended`, at the end.
    pub fn next(&mut self, ended: bool) -> Option<Result<Bytes, TooLong>> {
        let newline = self.chunk.iter().position(|&byte| byte == b'\n');
        let part = match newline {
            Some(at) => {
                let part = self.chunk.split_to(at);
                self.chunk.advance(1);
                part
            }
            None => std::mem::take(&mut self.chunk),
        };
        self.passing_over |= self.begun.len() + part.len() > self.bytes_max;
        if self.passing_over {
            self.begun = Vec::new();
        } else if newline.is_some() && self.begun.is_empty() {
            return Some(Ok(part));
        } else {
            self.begun.extend_from_slice(&part);
        }
        if newline.is_none() && (!ended || self.is_empty()) {
            return None;
        }
        if std::mem::take(&mut self.passing_over) {
            return Some(Err(TooLong));
        }
        Some(Ok(std::mem::take(&mut self.begun).into()))
    }

    /// Whether nothing is held.
    pub fn is_empty(&self) -> bool {
        self.chunk.is_empty() && self.begun.is_empty() && !self.passing_over
    }

    /// Forgets what is held.
    pub fn clear(&mut self) {
        *self = Self::new(self.bytes_max);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn split(chunks: &[&[u8]], bytes_max: usize) -> Vec<Result<Vec<u8>, TooLong>> {
        let mut lines = Lines::new(bytes_max);
        let mut out = Vec::new();
        for chunk in chunks {
            lines.feed(Bytes::copy_from_slice(chunk));
            out.extend(std::iter::from_fn(|| lines.next(false)));
        }
        out.extend(std::iter::from_fn(|| lines.next(true)));
        assert!(lines.is_empty());
        out.into_iter().map(|line| line.map(|line| line.to_vec())).collect()
    }

    fn naive(text: &[u8], bytes_max: usize) -> Vec<Result<Vec<u8>, TooLong>> {
        let mut lines: Vec<&[u8]> = text.split(|&byte| byte == b'\n').collect();
        lines.pop_if(|last| last.is_empty());
        lines
            .into_iter()
            .map(|line| if line.len() > bytes_max { Err(TooLong) } else { Ok(line.to_vec()) })
            .collect()
    }

    #[test]
    fn a_long_line_is_passed_over_and_spoils_no_other() {
        let long = [b'x'; 9];
        assert_eq!(
            split(&[b"a\n", &long, &long, b"\nb"], 8),
            [Ok(b"a".to_vec()), Err(TooLong), Ok(b"b".to_vec())]
        );
        assert_eq!(split(&[&long], 8), [Err(TooLong)]);
        assert_eq!(split(&[&long, b"\n"], 8), [Err(TooLong)]);
        assert_eq!(split(&[], 8), []);
    }

    proptest! {
        #[test]
        fn cuts_do_not_matter(text in "[ab\n]{0,40}", cuts in proptest::collection::vec(0usize..40, 0..6)) {
            let text = text.as_bytes();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(text.len())).collect();
            cuts.extend([0, text.len()]);
            cuts.sort_unstable();
            let chunks: Vec<&[u8]> = cuts.windows(2).map(|pair| &text[pair[0]..pair[1]]).collect();
            prop_assert_eq!(split(&chunks, 6), naive(text, 6));
            let bytes: Vec<&[u8]> = text.chunks(1).collect();
            prop_assert_eq!(split(&bytes, 6), naive(text, 6));
        }
    }
}
