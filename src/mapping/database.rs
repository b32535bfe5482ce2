//! What expressions depend on beside the tables: the database's encoding and letters.

use std::sync::{Arc, LazyLock};

use super::language::letters::Letters;
use super::language::types::Encoding;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Database {
    pub encoding: Encoding,
    pub letters: Letters,
}

impl Database {
    /// Before the source was asked: UTF8 with Unicode's letters.
    pub fn unasked() -> Arc<Database> {
        static UNASKED: LazyLock<Arc<Database>> = LazyLock::new(|| {
            Arc::new(Database {
                encoding: Encoding::Utf8,
                letters: Letters::unicode(),
            })
        });
        Arc::clone(&UNASKED)
    }
}
