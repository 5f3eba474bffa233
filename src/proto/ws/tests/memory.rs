//! What a connection holds while something is in pieces, and that it holds nothing otherwise.

use super::*;

fn held(client: &Client) -> usize {
    client.partial.as_ref().map_or(0, |partial| partial.bytes())
}

#[test]
fn nothing_is_kept_between_messages() {
    let mut client = Client::new(false);
    for bytes in [frame(0x81, b"text"), frame(0x89, b"ping"), frame(0x82, &[7; 500])] {
        client.feed(&bytes);
        assert!(client.partial.is_none());
        for piece in bytes.chunks(3) {
            client.feed(piece);
        }
        assert!(client.partial.is_none(), "dropped at the end of what was in pieces");
    }
    client.feed(&[]);
    assert!(client.partial.is_none());
    assert_eq!(client.got.len(), 6);
}

#[test]
fn no_more_is_kept_than_came() {
    let bare = size_of::<Partial>();
    let mut decoder = Decoder { message_max: 1 << 20, deflate: None, frames: 0 };
    let mut bytes = frame(0x82, &vec![9; 1 << 20]);
    let mut partial = None;
    let mut messages = 0;
    let (mut arrived, mut most) = (0, 0);
    for piece in bytes.chunks_mut(1400) {
        arrived += piece.len();
        decoder
            .feed(&mut partial, piece, &mut |_| {
                messages += 1;
                ControlFlow::Continue(())
            })
            .unwrap();
        let held = partial.as_ref().map_or(0, |partial| partial.bytes());
        assert!(held <= bare + arrived + arrived / 4 + 64, "{held} held of {arrived}");
        most = most.max(held);
    }
    assert_eq!((messages, partial.is_none()), (1, true));
    assert!(most <= bare + (1 << 20), "never more than the frame");
}

#[test]
fn an_announced_length_takes_no_memory() {
    let mut client = Client::new(false);
    client.feed(&frame(0x82, &[0; MAX])[..9]);
    assert!(held(&client) <= size_of::<Partial>() + 1 + 64);
}

#[test]
fn empty_fragments_take_no_memory() {
    let mut client = Client::new(false);
    client.feed(&frame(0x01, b""));
    let first = held(&client);
    for _ in 0..1000 {
        client.feed(&frame(0x00, b""));
    }
    assert_eq!(held(&client), first);
    client.feed(&frame(0x80, b""));
    assert_eq!((client.got.as_slice(), held(&client)), (&[Got::Text(String::new())][..], 0));
}

#[test]
fn a_partial_is_small() {
    assert!(size_of::<Partial>() <= 128, "{} bytes", size_of::<Partial>());
}
