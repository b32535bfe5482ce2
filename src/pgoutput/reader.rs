//! A cursor over one message: every access is checked, nothing is copied.

use bytes::Bytes;

use super::error::{DecodeError, Fault, MessageKind};
use crate::lsn::Lsn;

/// Reads a message's fields in their order, big-endian as the protocol has them.
/// A read that fails leaves the cursor where the fault is.
pub(super) struct Reader<'a> {
    message: MessageKind,
    payload: &'a Bytes,
    offset: usize,
}

impl<'a> Reader<'a> {
    /// Begins after the tag, which has told which message it is.
    pub(super) fn behind_tag(message: MessageKind, payload: &'a Bytes) -> Self {
        Reader {
            message,
            payload,
            offset: payload.len().min(1),
        }
    }

    pub(super) fn message(&self) -> MessageKind {
        self.message
    }

    pub(super) fn malformed(&self, fault: Fault) -> DecodeError {
        DecodeError::Malformed {
            message: self.message,
            offset: self.offset,
            fault,
        }
    }

    fn remaining(&self) -> usize {
        self.payload.len() - self.offset
    }

    /// Fails unless `length` more bytes are there, so that nothing is allocated
    /// for what a broken count announces.
    pub(super) fn require(&self, length: usize) -> Result<(), DecodeError> {
        match length.checked_sub(self.remaining()) {
            None | Some(0) => Ok(()),
            Some(needed) => Err(self.malformed(Fault::EndsEarly { needed })),
        }
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], DecodeError> {
        self.require(length)?;
        let taken = &self.payload[self.offset..self.offset + length];
        self.offset += length;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    pub(super) fn u8(&mut self) -> Result<u8, DecodeError> {
        self.array().map(u8::from_be_bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32, DecodeError> {
        self.array().map(u32::from_be_bytes)
    }

    pub(super) fn i32(&mut self) -> Result<i32, DecodeError> {
        self.array().map(i32::from_be_bytes)
    }

    pub(super) fn i64(&mut self) -> Result<i64, DecodeError> {
        self.array().map(i64::from_be_bytes)
    }

    pub(super) fn lsn(&mut self) -> Result<Lsn, DecodeError> {
        self.array().map(u64::from_be_bytes).map(Lsn)
    }

    /// A count of columns: 16 bits, never negative.
    pub(super) fn count16(&mut self) -> Result<usize, DecodeError> {
        let count = i16::from_be_bytes(self.array()?);
        usize::try_from(count).map_err(|_| self.malformed(Fault::NegativeLength))
    }

    /// A length or count: 32 bits, never negative.
    pub(super) fn count32(&mut self) -> Result<usize, DecodeError> {
        let count = self.i32()?;
        usize::try_from(count).map_err(|_| self.malformed(Fault::NegativeLength))
    }

    /// A NUL-terminated name: as the server wrote it, or an error.
    pub(super) fn name(&mut self) -> Result<&'a str, DecodeError> {
        let rest = &self.payload[self.offset..];
        let length = rest
            .iter()
            .position(|byte| *byte == 0)
            .ok_or_else(|| self.malformed(Fault::UnterminatedName))?;
        let name =
            std::str::from_utf8(&rest[..length]).map_err(|_| self.malformed(Fault::NameNotUtf8))?;
        self.offset += length + 1;
        Ok(name)
    }

    /// Shares the payload's memory instead of copying.
    pub(super) fn bytes(&mut self, length: usize) -> Result<Bytes, DecodeError> {
        let begin = self.offset;
        self.take(length)?;
        Ok(self.payload.slice(begin..begin + length))
    }

    /// A whole column in text format (`t`, a length and that many bytes), or nothing
    /// read. What nearly every column is, without the cost of telling what is wrong.
    #[inline]
    pub(super) fn text(&mut self) -> Option<Bytes> {
        let [b't', l0, l1, l2, l3, behind @ ..] = self.payload.get(self.offset..)? else {
            return None;
        };
        let length = usize::try_from(i32::from_be_bytes([*l0, *l1, *l2, *l3])).ok()?;
        if length > behind.len() {
            return None;
        }
        let begin = self.offset + 5;
        self.offset = begin + length;
        Some(self.payload.slice(begin..self.offset))
    }

    pub(super) fn unexpected(&self, found: u8, expected: &'static str) -> DecodeError {
        DecodeError::Malformed {
            message: self.message,
            // The byte has been read already.
            offset: self.offset - 1,
            fault: Fault::UnexpectedByte { found, expected },
        }
    }

    /// Nothing may follow: bytes that nobody has read are bytes not understood.
    pub(super) fn finish(&self) -> Result<(), DecodeError> {
        match self.remaining() {
            0 => Ok(()),
            count => Err(self.malformed(Fault::TrailingBytes { count })),
        }
    }
}
