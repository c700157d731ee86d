//! Reading server-sent events (WHATWG HTML, 9.2.6).
//!
//! Written here because it is short: the crates for it bring their own ideas of when to ask again.

/// An event of a stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct StreamEvent {
    /// The name; `message` if it has none.
    pub(super) name: String,
    /// The lines of its data.
    pub(super) data: String,
    /// The place in the stream, for taking it up again; that of an earlier event if it has none.
    pub(super) id: String,
}

/// Makes events of bytes that come in any portions.
#[derive(Debug, Default)]
pub(super) struct Parser {
    line: Vec<u8>,
    /// The last byte was a carriage return, so a line feed after it ends no further line.
    after_return: bool,
    has_begun: bool,
    name: String,
    data: String,
    id: String,
    /// The id as of the last end of an event: one that was cut off did not come.
    place: String,
}

impl Parser {
    /// Takes bytes; answers the events that they complete.
    pub(super) fn take(&mut self, bytes: &[u8]) -> Vec<StreamEvent> {
        let mut events = Vec::new();
        for byte in bytes {
            let after_return = std::mem::replace(&mut self.after_return, *byte == b'\r');
            match byte {
                b'\n' if after_return => {}
                b'\n' | b'\r' => events.extend(self.end_of_line()),
                byte => self.line.push(*byte),
            }
        }
        events
    }

    fn end_of_line(&mut self) -> Option<StreamEvent> {
        let bytes = std::mem::take(&mut self.line);
        let line = String::from_utf8_lossy(&bytes);
        let mut line = &*line;
        if !std::mem::replace(&mut self.has_begun, true) {
            line = line.trim_start_matches('\u{feff}');
        }
        if line.is_empty() {
            return self.end_of_event();
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut self.name),
            "data" => {
                self.data += value;
                self.data.push('\n');
            }
            "id" if !value.contains('\0') => value.clone_into(&mut self.id),
            // Comments have an empty name; what is not known is ignored, and so is `retry`.
            _ => {}
        }
        None
    }

    fn end_of_event(&mut self) -> Option<StreamEvent> {
        self.id.clone_into(&mut self.place);
        let name = std::mem::take(&mut self.name);
        let mut data = std::mem::take(&mut self.data);
        // Without data it is none, but its id counts.
        data.pop()?;
        let name = if name.is_empty() { "message".to_owned() } else { name };
        Some(StreamEvent { name, data, id: self.id.clone() })
    }

    /// The place that was told last, by an event or without one.
    pub(super) fn place(&self) -> &str {
        &self.place
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(name: &str, data: &str, id: &str) -> StreamEvent {
        StreamEvent { name: name.to_owned(), data: data.to_owned(), id: id.to_owned() }
    }

    #[test]
    fn events_are_read_in_any_portions_and_with_any_line_ends() {
        let text = "\u{feff}retry: 2000\nid: 0\n\n:\n\nid: 1\nevent: moved\ndata: {\"é\": 1}\n\n\
                    data:two\ndata:  lines\n\nid\nevent: end\ndata\n\ndata: cut off";
        let expected = [
            event("moved", "{\"é\": 1}", "1"),
            event("message", "two\n lines", "1"),
            event("end", "", ""),
        ];
        for ends in ["\n", "\r", "\r\n"] {
            let text = text.replace('\n', ends);
            for portion in 1..=text.len() {
                let mut parser = Parser::default();
                let events: Vec<_> =
                    text.as_bytes().chunks(portion).flat_map(|bytes| parser.take(bytes)).collect();
                assert_eq!(events, expected, "{portion} {ends:?}");
            }
        }
    }

    #[test]
    fn a_place_is_known_without_an_event_but_not_before_its_end() {
        let mut parser = Parser::default();
        assert_eq!(parser.take(b"id: a-7\n\nid: b\0\n\nid: a-8\ndata: cut"), []);
        assert_eq!(parser.place(), "a-7");
    }
}
