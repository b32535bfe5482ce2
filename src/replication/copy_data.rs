//! Framing of the wire protocol, and the messages inside CopyData (PostgreSQL
//! manual, "Streaming Replication Protocol").

use std::time::{SystemTime, UNIX_EPOCH};

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::lsn::Lsn;
use crate::pgoutput::Abridged;

/// A tag and the length of what follows, itself included.
const HEADER: usize = 5;

/// What stands before a message of the output plugin's: `w`, two LSNs and a time.
const XLOG_HEADER: usize = 25;

/// PostgreSQL allocates no message above 1 GiB; its XLogData header comes on top.
const MAX_FRAME: usize = (1 << 30) + HEADER + XLOG_HEADER;

/// How much is read at once, and what the frames of one read share.
const CHUNK: usize = 256 * 1024;

/// With less room than this a read is not worth its system call.
const MIN_READ: usize = 32 * 1024;

/// Seconds from the Unix epoch to PostgreSQL's, 2000-01-01.
const POSTGRES_EPOCH: u64 = 946_684_800;

/// A whole message of the server's.
#[derive(Debug)]
pub(super) struct Frame {
    bytes: Bytes,
}

impl Frame {
    pub(super) fn tag(&self) -> u8 {
        self.bytes.first().copied().unwrap_or(0)
    }

    /// What follows tag and length, sharing the read buffer.
    pub(super) fn body(&self) -> Bytes {
        self.bytes.slice(HEADER..)
    }

    /// With its header, as postgres-protocol reads it.
    pub(super) fn whole(&self) -> &[u8] {
        &self.bytes
    }
}

/// Collects bytes and cuts frames off them without copying. Partial frames stay
/// here, so that no timeout loses a byte.
pub(super) struct FrameReader {
    /// Initialised throughout: a socket may read into any of it.
    buffer: BytesMut,
    /// How much at the front was received.
    filled: usize,
    /// A larger message of the WAL is not held whole.
    largest_held: usize,
    abridging: Option<Abridging>,
}

/// A message of the WAL that is too large to be held, while it arrives.
struct Abridging {
    /// Up to the message of the output plugin's.
    head: Bytes,
    message: Abridged,
    /// Bytes that are still to come.
    missing: usize,
}

impl FrameReader {
    pub(super) fn new() -> Self {
        FrameReader {
            buffer: BytesMut::new(),
            filled: 0,
            largest_held: MAX_FRAME,
            abridging: None,
        }
    }

    /// From here on a message of the WAL with more bytes than this loses its large
    /// values as it arrives.
    pub(super) fn hold_at_most(&mut self, bytes: usize) {
        self.largest_held = bytes.saturating_add(HEADER + XLOG_HEADER);
    }

    /// Room to read into; [`advance`](Self::advance) says how much was read.
    pub(super) fn spare(&mut self) -> &mut [u8] {
        if self.buffer.len() - self.filled < MIN_READ {
            // A frame larger than a chunk doubles the buffer as it arrives: its
            // header is not trusted with memory that nothing was sent for.
            let mut larger = BytesMut::zeroed(CHUNK.max(self.filled.saturating_mul(2)));
            larger[..self.filled].copy_from_slice(&self.buffer[..self.filled]);
            self.buffer = larger;
        }
        &mut self.buffer[self.filled..]
    }

    pub(super) fn advance(&mut self, read: usize) {
        self.filled = self.buffer.len().min(self.filled + read);
    }

    /// Cuts the next whole frame off; `None` until more bytes have come.
    pub(super) fn next_frame(&mut self) -> Result<Option<Frame>, String> {
        if self.abridging.is_some() {
            return Ok(self.abridge());
        }
        let received = &self.buffer[..self.filled];
        let Some(&[tag, a, b, c, d]) = received.first_chunk::<HEADER>() else {
            return Ok(None);
        };
        let length = u32::from_be_bytes([a, b, c, d]) as usize + 1;
        if !(HEADER..=MAX_FRAME).contains(&length) {
            return Err(format!(
                "the server sent a message `{}` of {length} bytes, where {HEADER} to {MAX_FRAME} are possible: is this a PostgreSQL server?",
                tag.escape_ascii()
            ));
        }
        if length > self.largest_held && tag == b'd' {
            if received.len() < HEADER + XLOG_HEADER {
                return Ok(None);
            }
            self.abridging = Some(Abridging {
                head: self.cut(HEADER + XLOG_HEADER).freeze(),
                message: Abridged::default(),
                missing: length - HEADER - XLOG_HEADER,
            });
            return Ok(self.abridge());
        }
        if received.len() < length {
            return Ok(None);
        }
        let bytes = self.cut(length).freeze();
        Ok(Some(Frame { bytes }))
    }

    fn cut(&mut self, length: usize) -> BytesMut {
        self.filled -= length;
        self.buffer.split_to(length)
    }

    /// Goes on with what has come of a message that is not held; the frame without its
    /// large values once all of it has passed.
    fn abridge(&mut self) -> Option<Frame> {
        let mut abridging = self.abridging.take()?;
        let come = self.filled.min(abridging.missing);
        let bytes = self.cut(come);
        abridging.message.feed(&bytes);
        abridging.missing -= come;
        if abridging.missing > 0 {
            self.abridging = Some(abridging);
            return None;
        }
        let bytes = [&abridging.head[..], &abridging.message.finish()].concat();
        Some(Frame {
            bytes: bytes.into(),
        })
    }
}

/// What the server says inside CopyData.
#[derive(Debug)]
pub(super) enum CopyMessage {
    /// `w`: a message of the output plugin's.
    XLogData { wal_start: Lsn, payload: Bytes },
    /// `k`
    Keepalive { wal_end: Lsn, reply_requested: bool },
}

impl CopyMessage {
    pub(super) fn parse(mut body: Bytes) -> Result<Self, String> {
        let tag = body.first().copied();
        match tag {
            Some(b'w') if body.len() >= XLOG_HEADER => {
                let wal_start = Lsn((&body[1..9]).get_u64());
                body.advance(XLOG_HEADER);
                Ok(CopyMessage::XLogData {
                    wal_start,
                    payload: body,
                })
            }
            Some(b'k') if body.len() == 18 => Ok(CopyMessage::Keepalive {
                wal_end: Lsn((&body[1..9]).get_u64()),
                reply_requested: body[17] != 0,
            }),
            _ => Err(format!(
                "the server sent a replication message that is neither XLogData nor a keepalive (tag {tag:?}, {} bytes)",
                body.len()
            )),
        }
    }
}

/// A standby status update (`r`) as CopyData. Written, flushed and applied are
/// one to us: acknowledged means durable in the store.
pub(super) fn status_update(acknowledged: Lsn, reply_requested: bool, out: &mut BytesMut) {
    out.put_u8(b'd');
    out.put_u32(4 + 34);
    out.put_u8(b'r');
    for _ in 0..3 {
        out.put_u64(acknowledged.0);
    }
    out.put_i64(clock());
    out.put_u8(u8::from(reply_requested));
}

/// Microseconds since 2000-01-01, for the server's statistics only.
fn clock() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let micros = now.map_or(0, |now| now.as_micros());
    i64::try_from(micros).unwrap_or(i64::MAX) - (POSTGRES_EPOCH * 1_000_000) as i64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame(tag: u8, body: &[u8]) -> Vec<u8> {
        let mut bytes = vec![tag];
        bytes.extend((body.len() as u32 + 4).to_be_bytes());
        bytes.extend(body);
        bytes
    }

    /// Feeds `bytes` in pieces, as a socket would, and cuts frames after each.
    fn read(bytes: &[u8], mut pieces: impl Iterator<Item = usize>) -> Vec<(u8, Vec<u8>)> {
        let mut reader = FrameReader::new();
        let mut frames = Vec::new();
        let mut rest = bytes;
        while !rest.is_empty() {
            let spare = reader.spare();
            let piece = pieces
                .next()
                .unwrap_or(1)
                .clamp(1, rest.len().min(spare.len()));
            spare[..piece].copy_from_slice(&rest[..piece]);
            reader.advance(piece);
            rest = &rest[piece..];
            while let Some(frame) = reader.next_frame().unwrap() {
                frames.push((frame.tag(), frame.body().to_vec()));
            }
        }
        frames
    }

    proptest! {
        #[test]
        fn any_split_of_the_bytes_gives_the_same_frames(
            bodies in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..600), 1..40),
            pieces in prop::collection::vec(1_usize..700, 1..60),
        ) {
            let bytes: Vec<u8> = bodies.iter().flat_map(|body| frame(b'd', body)).collect();
            let frames = read(&bytes, pieces.into_iter().cycle());
            let expected: Vec<_> = bodies.into_iter().map(|body| (b'd', body)).collect();
            prop_assert_eq!(frames, expected);
        }

        #[test]
        fn no_bytes_make_it_panic(
            bytes in prop::collection::vec(any::<u8>(), 0..200),
        ) {
            let mut reader = FrameReader::new();
            reader.spare()[..bytes.len()].copy_from_slice(&bytes);
            reader.advance(bytes.len());
            while let Ok(Some(frame)) = reader.next_frame() {
                let _ = CopyMessage::parse(frame.body());
            }
        }
    }

    #[test]
    fn frames_larger_than_a_chunk_arrive_whole() {
        let big: Vec<u8> = (0..3 * CHUNK + 17).map(|n| n as u8).collect();
        let bytes = [frame(b'd', &big), frame(b'Z', b"I")].concat();
        let frames = read(&bytes, std::iter::repeat(70_001));
        assert_eq!(frames, [(b'd', big), (b'Z', b"I".to_vec())]);
    }

    #[test]
    fn a_row_that_is_too_large_passes_without_its_large_value() {
        let value = |length: usize| {
            let length_field = u32::try_from(length).unwrap().to_be_bytes();
            [&b"t"[..], &length_field, &vec![b'x'; length]].concat()
        };
        let row = |length| {
            let head = [&b"w"[..], &[0; 24], b"I\0\0\0\x07N\0\x02"].concat();
            frame(b'd', &[head, value(3), value(length)].concat())
        };
        let (held, large) = (row(400_000), row(900_000));
        let bytes = [&held, &large, &held, &frame(b'Z', b"I")[..]].concat();
        for piece in [1_000, 30_001] {
            let mut reader = FrameReader::new();
            reader.hold_at_most(500_000);
            let mut lengths = Vec::new();
            for piece in bytes.chunks(piece) {
                reader.spare()[..piece.len()].copy_from_slice(piece);
                reader.advance(piece.len());
                while let Some(frame) = reader.next_frame().unwrap() {
                    lengths.push(frame.whole().len());
                }
                assert!(reader.buffer.len() <= 4 * CHUNK);
            }
            // The header's 30, the row's 8, `t` and a length for each, and the first value.
            assert_eq!(lengths, [held.len(), 30 + 8 + 10 + 3, held.len(), 6]);
        }
    }

    #[test]
    fn impossible_lengths_are_refused() {
        for length in [0_u32, 3, 1 << 31, u32::MAX] {
            let mut reader = FrameReader::new();
            let bytes = [&[b'd'][..], &length.to_be_bytes()].concat();
            reader.spare()[..5].copy_from_slice(&bytes);
            reader.advance(5);
            assert!(reader.next_frame().is_err(), "{length}");
        }
    }

    #[test]
    fn reads_what_the_server_says() {
        let mut data = vec![b'w'];
        data.extend(
            [0x16B_3748_u64, 0x16B_3748, 7]
                .map(u64::to_be_bytes)
                .concat(),
        );
        data.extend(b"payload");
        let CopyMessage::XLogData { wal_start, payload } = CopyMessage::parse(data.into()).unwrap()
        else {
            panic!("expected XLogData");
        };
        assert_eq!(
            (wal_start, &payload[..]),
            (Lsn(0x16B_3748), &b"payload"[..])
        );
        let mut keepalive = vec![b'k'];
        keepalive.extend([9_u64, 7].map(u64::to_be_bytes).concat());
        keepalive.push(1);
        let parsed = CopyMessage::parse(keepalive.into()).unwrap();
        assert!(matches!(
            parsed,
            CopyMessage::Keepalive {
                wal_end: Lsn(9),
                reply_requested: true
            }
        ));
    }

    #[test]
    fn a_status_update_says_one_position_thrice() {
        let mut out = BytesMut::new();
        status_update(Lsn(0x0102_0304_0506_0708), true, &mut out);
        assert_eq!(out.len(), 39);
        assert_eq!(out[..6], [b'd', 0, 0, 0, 38, b'r']);
        assert_eq!(out[6..30], [1, 2, 3, 4, 5, 6, 7, 8].repeat(3));
        assert_eq!(out[38], 1);
    }
}
