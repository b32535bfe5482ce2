//! What an error of the store says of trying again.

use super::{IdentityError, OtherKeyError, PoolError, SchemaError, SessionError};
use crate::conninfo::ConnInfoError;
use crate::conninfo::sqlstate::{self, Nature};

/// Whether the store itself is refused: it is not set up, a copy, or encrypted with another
/// key. It does not become another by waiting.
pub fn is_refusal(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause.is::<SchemaError>()
            || cause.is::<IdentityError>()
            || cause.is::<OtherKeyError>()
            // These show what they hold as their own, and are not followed by it.
            || matches!(cause.downcast_ref(), Some(SessionError::Identity(_)))
            || matches!(
                cause.downcast_ref(),
                Some(PoolError::Connect(SessionError::Identity(_)))
            )
    })
}

/// Whether the store may answer otherwise later: it was unreachable, stopped, overloaded or
/// out of room, failed in itself, ended our session, or does not let us in any more, as
/// while its password is being changed.
pub fn is_transient(error: &anyhow::Error) -> bool {
    natures(error).any(|nature| match nature {
        Nature::Passing | Nature::Internal | Nature::Refused => true,
        Nature::Lasting => false,
    })
}

/// Whether the store's URL, or what the server says of it, is at fault: of a store that was
/// never reached nothing else is to be expected.
pub fn is_refused(error: &anyhow::Error) -> bool {
    natures(error).any(|nature| nature == Nature::Refused)
}

fn natures(error: &anyhow::Error) -> impl Iterator<Item = Nature> {
    error.chain().filter_map(|cause| {
        // The one error hides the other's name.
        if let Some(error) = cause.downcast_ref() {
            return Some(match error {
                PoolError::Exhausted { .. } => Nature::Passing,
                PoolError::Connect(error) => error.nature(),
            });
        }
        if let Some(error) = cause.downcast_ref::<ConnInfoError>() {
            return Some(error.nature());
        }
        let error = cause.downcast_ref::<tokio_postgres::Error>();
        error.map(sqlstate::nature_of)
    })
}
