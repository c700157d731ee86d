//! How a spool is written: a line of JSON that says whose it is, then a frame for each piece.
//!
//! A frame is a header of fixed length, all numbers little-endian, and the bytes:
//!
//! ```text
//! length u32 | kind u8 | microseconds since 1970 i64 | bytes of the stream up to its end u64 | bytes
//! ```
//!
//! The last frame may be torn, where its writer was killed; it counts as not written.

const HEADER: usize = 4 + 1 + 8 + 8;
/// Added to the kind of a frame whose bytes are as the step wrote them.
const RAW: u8 = 0x10;

/// A piece of output in a spool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::runner) struct Frame<'a> {
    /// 1 stdout, 2 stderr, 0 a remark of the worker.
    pub(in crate::runner) stream: u8,
    /// Whether nobody has looked for secrets in it yet.
    pub(in crate::runner) is_raw: bool,
    /// When it was read, in microseconds since 1970.
    pub(in crate::runner) at: i64,
    /// How many bytes of its stream the step had written up to the end of it.
    pub(in crate::runner) upto: u64,
    /// The bytes.
    pub(in crate::runner) data: &'a [u8],
}

impl Frame<'_> {
    /// Appends the frame.
    pub(in crate::runner) fn write(&self, to: &mut Vec<u8>) {
        let length = u32::try_from(self.data.len()).expect("a piece has some kilobytes");
        to.extend_from_slice(&length.to_le_bytes());
        to.push(self.stream | if self.is_raw { RAW } else { 0 });
        to.extend_from_slice(&self.at.to_le_bytes());
        to.extend_from_slice(&self.upto.to_le_bytes());
        to.extend_from_slice(self.data);
    }
}

/// A spool as it was found.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::runner) struct Spooled<'a> {
    /// Says whose it is; empty if not even that was written.
    pub(in crate::runner) head: &'a [u8],
    /// The frames that are whole.
    pub(in crate::runner) frames: Vec<Frame<'a>>,
    /// How many bytes all that is whole has.
    pub(in crate::runner) length: usize,
}

impl<'a> Spooled<'a> {
    /// Reads as far as everything is whole.
    pub(in crate::runner) fn read(bytes: &'a [u8]) -> Self {
        let Some(end) = bytes.iter().position(|byte| *byte == b'\n') else {
            return Self { head: &[], frames: Vec::new(), length: 0 };
        };
        let mut frames = Vec::new();
        let mut length = end + 1;
        while let Some((frame, size)) = next(&bytes[length..]) {
            frames.push(frame);
            length += size;
        }
        Self { head: &bytes[..end], frames, length }
    }

    /// How many bytes of a stream (1 stdout, 2 stderr) the frames tell of.
    pub(in crate::runner) fn upto(&self, stream: u8) -> u64 {
        let mut of_stream = self.frames.iter().rev().filter(|frame| frame.stream == stream);
        of_stream.next().map_or(0, |frame| frame.upto)
    }
}

/// The first frame and its size, if it is whole.
fn next(bytes: &[u8]) -> Option<(Frame<'_>, usize)> {
    let (length, rest) = bytes.split_first_chunk()?;
    let (kind, rest) = rest.split_first()?;
    let (at, rest) = rest.split_first_chunk()?;
    let (upto, rest) = rest.split_first_chunk()?;
    let data = rest.get(..u32::from_le_bytes(*length) as usize)?;
    let frame = Frame {
        stream: kind & !RAW,
        is_raw: kind & RAW != 0,
        at: i64::from_le_bytes(*at),
        upto: u64::from_le_bytes(*upto),
        data,
    };
    Some((frame, HEADER + data.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_torn_frame_is_dropped_and_all_before_it_is_there() {
        let first = Frame { stream: 1, is_raw: false, at: -5, upto: 3, data: b"one" };
        let second = Frame { stream: 2, is_raw: true, at: 9, upto: 2, data: b"\n\0" };
        let mut bytes = b"{}\n".to_vec();
        first.write(&mut bytes);
        let one = bytes.len();
        second.write(&mut bytes);
        for length in 0..=bytes.len() {
            let spooled = Spooled::read(&bytes[..length]);
            let (frames, whole) = match length {
                0..3 => (vec![], 0),
                _ if length < one => (vec![], 3),
                _ if length < bytes.len() => (vec![first], one),
                _ => (vec![first, second], length),
            };
            assert_eq!((&spooled.frames, spooled.length), (&frames, whole), "{length}");
            assert_eq!(spooled.head, if length < 3 { &b""[..] } else { b"{}" });
            assert_eq!(spooled.upto(1), if length < one { 0 } else { 3 });
        }
    }
}
