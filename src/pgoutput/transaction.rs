//! The decoder of a stream: one message in, one event of the stream out.

/// A message's bytes were not what the protocol says.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed pgoutput message")]
pub struct DecodeError;

pub struct Decoder;
