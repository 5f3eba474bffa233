//! Masking (RFC 6455 5.3).

/// Applies `mask` to `payload`, beginning with the mask's first byte. Masking and unmasking are the same.
pub fn unmask(payload: &mut [u8], mask: [u8; 4]) {
    let [a, b, c, d] = mask;
    let wide = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let (words, tail) = payload.as_chunks_mut::<8>();
    for word in words {
        *word = (u64::from_ne_bytes(*word) ^ wide).to_ne_bytes();
    }
    for (byte, key) in tail.iter_mut().zip(mask.iter().cycle()) {
        *byte ^= key;
    }
}

/// The mask as it stands after `consumed` bytes of payload.
pub(super) fn rotate(mut mask: [u8; 4], consumed: usize) -> [u8; 4] {
    mask.rotate_left(consumed & 3);
    mask
}
