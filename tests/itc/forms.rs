//! The text and the binary form.

use proptest::prelude::*;
use sutbot::itc::{COUNTER_MAX, NODES_MAX, Stamp};

use crate::support::{config, stamp, stamps};

pub(crate) fn bits(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(|digit| *digit != b' ').collect();
    let byte = |chunk: &[u8]| {
        let value = chunk.iter().fold(0, |value, digit| value << 1 | (digit - b'0'));
        value << (8 - chunk.len())
    };
    digits.chunks(8).map(byte).collect()
}

/// By hand, from the table of the paper.
#[test]
fn bits_of_the_paper() {
    for (text, written) in [
        ("(1,0)", "001 1000"),
        ("(0,3)", "000 1011"),
        ("(0,4)", "000 11 0 000"),
        ("(0,11)", "000 11 0 111"),
        ("(0,12)", "000 111 0 0000"),
        ("((0,1),0)", "01 001 1000"),
        ("((1,0),0)", "10 001 1000"),
        ("((1,(0,1)),0)", "11 001 01 001 1000"),
        ("(0,(0,0,1))", "000 000 1001"),
        ("(0,(0,1,0))", "000 001 1001"),
        ("(0,(0,(0,1,0),1))", "000 010 001 1001 1001"),
        ("(0,(2,0,1))", "000 01100 1010 1001"),
        ("(0,(2,1,0))", "000 01101 1010 1001"),
        ("(0,(2,(0,1,0),1))", "000 0111 1010 001 1001 1001"),
    ] {
        assert_eq!(stamp(text).encode(), bits(written), "{text}");
        assert_eq!(Stamp::decode(&bits(written), 100), Ok(stamp(text)));
    }
}

#[track_caller]
fn refused(text: &str) -> String {
    Stamp::parse(text, 100).expect_err(text).to_string()
}

#[test]
fn texts_that_are_none() {
    for (text, expected) in [
        ("", "at byte 0: expected `(`"),
        ("1", "at byte 0: expected `(`"),
        ("(1", "at byte 2: expected `,`"),
        ("(1,", "at byte 3: expected an event tree: `n` or `(n,l,r)`"),
        ("(2,0)", "at byte 1: expected an id: `0`, `1` or `(l,r)`"),
        ("(1,0)x", "at byte 5: something follows the stamp"),
        ("(1, 0)", "at byte 3: expected an event tree: `n` or `(n,l,r)`"),
        ("((0,0),0)", "at byte 1: the tree is not in normal form"),
        ("((0,(1,1)),0)", "at byte 4: the tree is not in normal form"),
        ("(1,(0,1,1))", "at byte 3: the tree is not in normal form"),
        ("(1,(0,1,2))", "at byte 3: the tree is not in normal form"),
        ("(1,(0,0,(0,2,3)))", "at byte 8: the tree is not in normal form"),
        ("(1,((0,1,0),0,1))", "at byte 4: expected a number"),
        ("(1,01)", "at byte 3: a number begins with 0"),
        ("(1,-1)", "at byte 3: expected an event tree: `n` or `(n,l,r)`"),
        (
            "(1,9007199254740992)",
            "at byte 3: a place would count more than 9007199254740991 events",
        ),
        (
            "(1,99999999999999999999)",
            "at byte 3: a place would count more than 9007199254740991 events",
        ),
        (
            "(1,(9007199254740991,0,1))",
            "at byte 3: a place would count more than 9007199254740991 events",
        ),
        (
            "(1,(18446744073709551615,0,1))",
            "at byte 3: a place would count more than 9007199254740991 events",
        ),
    ] {
        assert_eq!(refused(text), expected, "{text}");
    }
    assert!(Stamp::parse("((1,0),(0,1,0))", 6).is_ok());
    let error = Stamp::parse("((1,0),(0,1,0))", 5).unwrap_err();
    assert_eq!(error.to_string(), "at byte 12: more than 5 nodes");
}

#[test]
fn bits_that_are_none() {
    for (written, expected) in [
        ("", "at bit 0: the stamp is cut off"),
        ("001 1001 1", "at bit 7: bits follow the stamp"),
        ("001 1000 0 00000000", "at bit 8: bytes follow the stamp"),
        ("001 11111", "at bit 8: the stamp is cut off"),
        ("01 000 1000", "at bit 2: a 0 that has a shorter form"),
        ("10 000 1000", "at bit 2: a 0 that has a shorter form"),
        ("11 000 001 1000", "at bit 2: a 0 that has a shorter form"),
        ("11 001 001 1000", "at bit 0: the tree is not in normal form"),
        ("000 000 1000", "at bit 6: a 0 that has a shorter form"),
        ("000 010 1000 1001", "at bit 6: a 0 that has a shorter form"),
        ("000 010 1001 1001", "at bit 3: the tree is not in normal form"),
        ("000 010 1001 1010", "at bit 3: the tree is not in normal form"),
        ("000 01100 1000 1001", "at bit 8: a 0 that has a shorter form"),
        ("000 01100 000 1001 1001", "at bit 8: a tree where a number must stand"),
    ] {
        assert_eq!(
            Stamp::decode(&bits(written), 100).unwrap_err().to_string(),
            expected,
            "{written}"
        );
    }
    let ones = Stamp::decode(&[0b0001_1111, 255, 255, 255, 255, 255, 255, 255, 255], 100);
    let expected = "at bit 3: a place would count more than 9007199254740991 events";
    assert_eq!(ones.unwrap_err().to_string(), expected);
    let error = Stamp::decode(&stamp("((1,0),(0,1,0))").encode(), 5).unwrap_err();
    assert_eq!(error.to_string(), "at bit 8: more than 5 nodes");
}

#[test]
fn the_largest_number_has_both_forms() {
    let largest = stamp(&format!("(1,{COUNTER_MAX})"));
    assert_eq!(Stamp::decode(&largest.encode(), 100), Ok(largest.clone()));
    assert_eq!(largest.event(), Err(sutbot::itc::Error::Overflow));
    let below = stamp(&format!("((1,0),({},0,1))", COUNTER_MAX - 1));
    let full = below.event().unwrap();
    assert_eq!(full.events().to_string(), COUNTER_MAX.to_string());
    assert_eq!(full.event(), Err(sutbot::itc::Error::Overflow));
    // Nothing wraps around where such trees meet.
    let other = stamp(&format!("(0,(0,(0,{COUNTER_MAX},0),0))"));
    assert_eq!(full.join(&other).unwrap().events(), full.events());
}

proptest! {
    #![proptest_config(config(300))]

    #[test]
    fn forms_are_read_as_what_was_written(stamps in stamps()) {
        for stamp in &stamps {
            prop_assert_eq!(&stamp.to_string().parse::<Stamp>().unwrap(), stamp);
            prop_assert_eq!(&Stamp::decode(&stamp.encode(), NODES_MAX).unwrap(), stamp);
            prop_assert!(Stamp::parse(&stamp.to_string(), stamp.nodes()).is_ok());
            prop_assert!(Stamp::parse(&stamp.to_string(), stamp.nodes() - 1).is_err());
            prop_assert!(Stamp::decode(&stamp.encode(), stamp.nodes()).is_ok());
            prop_assert!(Stamp::decode(&stamp.encode(), stamp.nodes() - 1).is_err());
        }
    }

    /// No two stamps have one form, and no two forms are one stamp.
    #[test]
    fn whatever_can_be_read_is_written_the_same(bytes in proptest::collection::vec(any::<u8>(), 0..12)) {
        crate::entry::read(&bytes);
    }
}
