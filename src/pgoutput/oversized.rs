//! Rows that are too large to be held: read as they arrive, without their large values.
//!
//! What comes of it is a message like any other, but that each large value is a marker
//! with its length. The key, the tenant and everything else of ordinary size are there.

use super::tuple::OMITTED;

/// A value up to this many bytes stays, whatever else the row holds. Keys and tenants are
/// smaller: PostgreSQL's indexes take 2,704 bytes. A row has at most 1,600 columns, twice
/// under REPLICA IDENTITY FULL, so that what stays is below 26 MB.
const LARGEST_KEPT: usize = 8 * 1024;

/// A message that arrives in pieces and of which the large values are passed over.
#[derive(Debug)]
pub struct Abridged {
    /// What has been kept so far.
    kept: Vec<u8>,
    step: Step,
    /// What the bytes that are being collected mean.
    expected: Expected,
    /// Columns of the current row that have not been read to their end.
    columns: usize,
    /// The old row of an update is behind us: the new one is the last.
    old_read: bool,
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Keep(usize),
    PassOver(usize),
    /// Up to a NUL.
    KeepName,
    /// Bytes that nobody expects: the first shows that they were there.
    KeepOne,
    PassOverAll,
}

#[derive(Clone, Copy, Debug)]
enum Expected {
    Tag,
    /// `N`, `K` or `O`, which begins a row.
    Part,
    ColumnCount,
    ColumnFormat,
    ValueLength,
    Value,
    /// Of a logical message: what stands before its prefix.
    MessageHead,
    ContentLength,
    Content,
}

impl Default for Abridged {
    fn default() -> Self {
        Abridged {
            kept: Vec::new(),
            step: Step::Keep(1),
            expected: Expected::Tag,
            columns: 0,
            old_read: false,
        }
    }
}

impl Abridged {
    /// Takes the next bytes of the message.
    pub fn feed(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let taken = match self.step {
                Step::Keep(wanted) => {
                    let taken = wanted.min(bytes.len());
                    self.kept.extend_from_slice(&bytes[..taken]);
                    self.step = Step::Keep(wanted - taken);
                    taken
                }
                Step::PassOver(wanted) => {
                    let taken = wanted.min(bytes.len());
                    self.step = Step::PassOver(wanted - taken);
                    taken
                }
                Step::KeepName => self.keep_name(bytes),
                Step::KeepOne => {
                    self.kept.push(bytes[0]);
                    self.step = Step::PassOverAll;
                    1
                }
                Step::PassOverAll => bytes.len(),
            };
            bytes = &bytes[taken..];
            // An empty value needs no bytes to be whole.
            while matches!(self.step, Step::Keep(0) | Step::PassOver(0)) {
                self.advance();
            }
        }
    }

    /// The message without its large values. One that cannot be read, or that has not
    /// arrived to its end, is cut short and fails to decode as such.
    pub fn finish(self) -> Vec<u8> {
        self.kept
    }

    fn keep_name(&mut self, bytes: &[u8]) -> usize {
        // `pg_logical_emit_message` takes prefixes of any length.
        let room = LARGEST_KEPT.saturating_sub(self.kept.len());
        match bytes.iter().take(room).position(|byte| *byte == 0) {
            Some(end) => {
                self.kept.extend_from_slice(&bytes[..=end]);
                self.keep(4, Expected::ContentLength);
                end + 1
            }
            None => {
                let taken = room.min(bytes.len());
                self.kept.extend_from_slice(&bytes[..taken]);
                if taken == room {
                    self.step = Step::PassOverAll;
                }
                taken
            }
        }
    }

    fn keep(&mut self, bytes: usize, expected: Expected) {
        self.step = Step::Keep(bytes);
        self.expected = expected;
    }

    /// What was expected is whole.
    fn advance(&mut self) {
        let last = self.kept.last().copied().unwrap_or(0);
        match (self.expected, last) {
            // The relation's oid, and which row it is.
            (Expected::Tag, b'I' | b'U' | b'D') => self.keep(5, Expected::Part),
            // Flags and LSN.
            (Expected::Tag, b'M') => self.keep(9, Expected::MessageHead),
            (Expected::Part, b'N' | b'K' | b'O') => self.keep(2, Expected::ColumnCount),
            (Expected::ColumnCount, _) => {
                self.columns = self.last_number::<2>().unwrap_or(0);
                self.next_column();
            }
            (Expected::ColumnFormat, b't') => self.keep(4, Expected::ValueLength),
            (Expected::ColumnFormat, b'n' | b'u') | (Expected::Value, _) => {
                self.columns = self.columns.saturating_sub(1);
                self.next_column();
            }
            (Expected::ValueLength, _) => match self.last_number::<4>() {
                Some(length) if length <= LARGEST_KEPT => self.keep(length, Expected::Value),
                Some(length) => {
                    let format = self.kept.len() - 5;
                    self.kept[format] = OMITTED;
                    self.step = Step::PassOver(length);
                    self.expected = Expected::Value;
                }
                None => self.step = Step::KeepOne,
            },
            (Expected::MessageHead, _) => self.step = Step::KeepName,
            // Nobody reads what is as large as this: the message stays, empty.
            (Expected::ContentLength, _) => {
                let length = self.last_number::<4>();
                let begin = self.kept.len() - 4;
                self.kept[begin..].fill(0);
                self.step = Step::PassOver(length.unwrap_or(0));
                self.expected = Expected::Content;
            }
            (Expected::Content | Expected::Tag | Expected::Part | Expected::ColumnFormat, _) => {
                self.step = Step::KeepOne;
            }
        }
    }

    fn next_column(&mut self) {
        if self.columns > 0 {
            return self.keep(1, Expected::ColumnFormat);
        }
        // An old row is followed by the new one in an update.
        let first_row = self.kept.get(5).copied();
        let is_old = self.kept.first() == Some(&b'U') && matches!(first_row, Some(b'K' | b'O'));
        match is_old && !std::mem::replace(&mut self.old_read, true) {
            true => self.keep(1, Expected::Part),
            false => self.step = Step::KeepOne,
        }
    }

    /// The big-endian number at the end of what is kept; `None` where it is negative.
    fn last_number<const N: usize>(&self) -> Option<usize> {
        let bytes = self.kept.last_chunk::<N>()?;
        let number = bytes
            .iter()
            .fold(0_usize, |number, byte| number << 8 | usize::from(*byte));
        (bytes[0] < 0x80).then_some(number)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::lsn::Lsn;
    use crate::pgoutput::{Decoder, OldTuple, Operation, StreamEvent, TupleValue};

    fn value(text: &[u8]) -> Vec<u8> {
        let length = u32::try_from(text.len()).unwrap().to_be_bytes();
        [b"t", &length[..], text].concat()
    }

    fn row(part: u8, columns: &[Vec<u8>]) -> Vec<u8> {
        let count = u16::try_from(columns.len()).unwrap().to_be_bytes();
        [&[part][..], &count, &columns.concat()].concat()
    }

    fn abridge(message: &[u8], piece: usize) -> Vec<u8> {
        let mut abridged = Abridged::default();
        message.chunks(piece).for_each(|bytes| abridged.feed(bytes));
        abridged.finish()
    }

    /// What a decoder that knows relation 7 of three columns makes of a message.
    fn decode(message: &[u8]) -> Operation {
        let mut decoder = Decoder::new();
        let mut events = Vec::new();
        let begin = [&b"B"[..], &[0; 7], &[9], &[0; 8], &[0, 0, 0, 1]].concat();
        let column =
            |name: &str| [&[0], name.as_bytes(), &[0, 0, 0, 0, 25, 255, 255, 255, 255]].concat();
        let relation = [
            &b"R\0\0\0\x07s\0t\0f\0\x03"[..],
            &["a", "b", "c"].map(column).concat(),
        ]
        .concat();
        for message in [&begin, &relation, message] {
            decoder.decode(Lsn(1), Bytes::copy_from_slice(message), &mut events);
        }
        match events.pop() {
            Some(StreamEvent::Change(change)) => change.operation,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn large_values_become_markers_and_everything_else_stays() {
        let large = value(&vec![b'x'; 100_000]);
        let (small, none) = (value(b"key"), b"n".to_vec());
        let old = row(b'O', &[small.clone(), large.clone(), none.clone()]);
        let new = row(b'N', &[small, b"u".to_vec(), large]);
        let message = [&b"U\0\0\0\x07"[..], &old, &new].concat();
        for piece in [1, 7, 4_096, message.len()] {
            let abridged = abridge(&message, piece);
            assert!(abridged.len() < 100, "{} bytes", abridged.len());
            let Operation::Update {
                old: Some(OldTuple::Full(old)),
                new,
            } = decode(&abridged)
            else {
                panic!("not an update");
            };
            let key = TupleValue::Text(Bytes::from_static(b"key"));
            let omitted = TupleValue::Omitted { bytes: 100_000 };
            assert_eq!(old, [key.clone(), omitted.clone(), TupleValue::Null]);
            assert_eq!(new, [key, TupleValue::UnchangedToast, omitted]);
        }
    }

    #[test]
    fn values_up_to_the_bound_stay() {
        let bound = value(&vec![b'x'; LARGEST_KEPT]);
        let columns = [bound, value(b""), value(&vec![b'x'; LARGEST_KEPT + 1])];
        let message = [&b"I\0\0\0\x07"[..], &row(b'N', &columns)].concat();
        let Operation::Insert { new } = decode(&abridge(&message, 1_000)) else {
            panic!("not an insert");
        };
        assert!(matches!(&new[0], TupleValue::Text(text) if text.len() == LARGEST_KEPT));
        assert_eq!(new[1], TupleValue::Text(Bytes::new()));
        assert!(matches!(new[2], TupleValue::Omitted { .. }));
    }

    #[test]
    fn a_logical_message_keeps_its_prefix_alone() {
        let message = [
            &b"M\x01"[..],
            &[0; 8],
            b"prefix\0",
            &[0, 1, 0, 0],
            &[b'x'; 65_536],
        ]
        .concat();
        let expected = [&b"M\x01"[..], &[0; 8], b"prefix\0", &[0; 4]].concat();
        assert_eq!(abridge(&message, 100), expected);
        let endless = [&b"M\x01"[..], &[0; 8], &[b'x'; 1_000_000]].concat();
        assert_eq!(abridge(&endless, 100).len(), LARGEST_KEPT);
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_panic_or_grow(
            head in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..40),
            tag in proptest::sample::select(b"IUDMRX".to_vec()),
        ) {
            let message = [&[tag], &head[..], &[0; 300_000]].concat();
            // Rows of columns of nothing: as many bytes as columns, of which there are few.
            assert!(abridge(&message, 10_000).len() < 100_000);
        }
    }
}
