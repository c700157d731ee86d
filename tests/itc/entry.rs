//! What is done with bytes whose only aim is to break something: by `cargo fuzz`, and with a few
//! thousand of them by the everyday tests.

use sutbot::itc::{DecodeError, Error, Stamp};

const NODES_MAX: usize = 5_000;

/// Reads the bytes as text and as the binary form.
pub(crate) fn read(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let from_text = Stamp::parse(&text, NODES_MAX);
    let from_bits = Stamp::decode(bytes, NODES_MAX);
    if let Ok(stamp) = &from_text {
        assert_eq!(stamp.to_string(), text);
    }
    if let Ok(stamp) = &from_bits {
        assert_eq!(stamp.encode(), bytes);
    }
    for (read, length) in [(from_text, text.len()), (from_bits, bytes.len() * 8)] {
        match read {
            Ok(stamp) => use_it(&stamp),
            Err(DecodeError { position, message, .. }) => {
                assert!(position <= length && !message.is_empty(), "{position} of {length}");
            }
        }
    }
}

/// Does everything that can be done with a stamp.
fn use_it(stamp: &Stamp) {
    assert!(stamp.nodes() <= NODES_MAX);
    assert_eq!(Stamp::parse(&stamp.to_string(), NODES_MAX).as_ref(), Ok(stamp));
    assert_eq!(Stamp::decode(&stamp.encode(), NODES_MAX).as_ref(), Ok(stamp));
    match stamp.event() {
        Ok(next) => {
            assert!(stamp.happened_before(&next));
            assert_eq!(next.to_string().parse(), Ok(next));
        }
        Err(Error::Anonymous) => assert!(stamp.id().is_zero()),
        Err(error) => assert_eq!(error, Error::Overflow),
    }
    match stamp.fork() {
        Ok((first, second)) => assert_eq!(first.join(&second).as_ref(), Ok(stamp)),
        Err(error) => assert_eq!(error, Error::TooDeep),
    }
    assert_eq!(stamp.join(&stamp.peek()).as_ref(), Ok(stamp));
    assert_eq!(stamp.join(stamp).is_err(), !stamp.id().is_zero());
}
