//! Byte strings of 1 to 1,024 bytes packed in pages that never move, for names that are stored once.
//!
//! Owns the bytes; the caller remembers offset and length. A string takes its length rounded up to 4 bytes. A freed
//! piece waits, linked through its own bytes, for the next string of its rounded size; pieces are neither split nor
//! merged, so what is held is bounded by the sum of each size's peak. No page is given back before the arena is.

/// The longest string, in bytes.
pub const LEN_MAX: usize = 1_024;

/// Offsets and sizes count units of 4 bytes, so that an offset reaches 16 GiB.
const UNIT: usize = 4;
/// One page of the host's: a node has many arenas, and what the last page of each holds unused is all their waste.
const PAGE_BYTES: usize = 4 * 1_024;
const PAGE_UNITS: usize = PAGE_BYTES / UNIT;

/// Ends a free list. No piece is there: the page that would hold this unit is never made.
const NIL: u32 = u32::MAX;
const PAGES_MAX: usize = u32::MAX as usize / PAGE_UNITS;

/// A store of short byte strings.
pub struct Arena {
    pages: Vec<Box<[u8]>>,
    /// Bytes used of the last page.
    page_used: usize,
    /// The first free piece of each size, that of one unit first. Grows to the largest size ever freed.
    free: Vec<u32>,
    pages_max: usize,
}

impl Default for Arena {
    fn default() -> Self {
        Self::new()
    }
}

impl Arena {
    /// An empty arena. Nothing is allocated yet.
    pub fn new() -> Self {
        Arena { pages: Vec::new(), page_used: 0, free: Vec::new(), pages_max: PAGES_MAX }
    }

    /// Stores a copy of `bytes` and gives its offset. `None` if its length is not 1 to 1,024, or 16 GiB are used up.
    pub fn store(&mut self, bytes: &[u8]) -> Option<u32> {
        if bytes.is_empty() || bytes.len() > LEN_MAX {
            return None;
        }
        let units = bytes.len().div_ceil(UNIT);
        let at = match self.pop_free(units) {
            Some(at) => at,
            None => self.cut(units)?,
        };
        self.piece_mut(at, bytes.len()).copy_from_slice(bytes);
        Some(at)
    }

    /// The bytes stored at an offset.
    ///
    /// # Panics
    /// If the piece is not inside the arena, which an offset and length from [`Arena::store`] always are.
    pub fn get(&self, at: u32, len: usize) -> &[u8] {
        let (page, start) = position(at);
        &self.pages[page][start..start + len]
    }

    /// Gives back the piece of `len` bytes at an offset, which must not be used any more.
    pub fn free(&mut self, at: u32, len: usize) {
        debug_assert!((1..=LEN_MAX).contains(&len));
        self.push_free(at, len.div_ceil(UNIT));
    }

    /// Heap bytes held, used or not.
    pub fn bytes(&self) -> usize {
        self.pages.len() * PAGE_BYTES
            + self.pages.capacity() * size_of::<Box<[u8]>>()
            + self.free.capacity() * size_of::<u32>()
    }

    /// A fresh piece off the end of the last page, or off a new page.
    fn cut(&mut self, units: usize) -> Option<u32> {
        let room = self.pages.last().map_or(0, |page| page.len() - self.page_used);
        if room < units * UNIT {
            self.add_page(room)?;
        }
        let at = (self.pages.len() - 1) * PAGE_UNITS + self.page_used / UNIT;
        self.page_used += units * UNIT;
        u32::try_from(at).ok()
    }

    /// Opens a new page and keeps the `room` left in the last one as a free piece.
    fn add_page(&mut self, room: usize) -> Option<()> {
        if self.pages.len() >= self.pages_max {
            return None;
        }
        if room > 0 {
            let at = (self.pages.len() - 1) * PAGE_UNITS + self.page_used / UNIT;
            self.push_free(u32::try_from(at).ok()?, room / UNIT);
        }
        self.pages.push(vec![0; PAGE_BYTES].into_boxed_slice());
        self.page_used = 0;
        Some(())
    }

    fn push_free(&mut self, at: u32, units: usize) {
        if self.free.len() < units {
            self.free.resize(units, NIL);
        }
        let next = std::mem::replace(&mut self.free[units - 1], at);
        self.piece_mut(at, UNIT).copy_from_slice(&next.to_ne_bytes());
    }

    fn pop_free(&mut self, units: usize) -> Option<u32> {
        let at = *self.free.get(units - 1)?;
        if at == NIL {
            return None;
        }
        let link = self.get(at, UNIT).try_into().ok()?;
        self.free[units - 1] = u32::from_ne_bytes(link);
        Some(at)
    }

    fn piece_mut(&mut self, at: u32, len: usize) -> &mut [u8] {
        let (page, start) = position(at);
        &mut self.pages[page][start..start + len]
    }
}

/// The page of a piece, and the byte in there that it begins at.
fn position(at: u32) -> (usize, usize) {
    (at as usize / PAGE_UNITS, at as usize % PAGE_UNITS * UNIT)
}

#[cfg(test)]
mod tests;
