//! Which collation a text has: that of the columns which it comes of.

use crate::mapping::language::error::Result;
use crate::mapping::language::program::Case;
use crate::mapping::language::types::{Collation, Encoding};

use super::{Checker, Typed};

impl Checker<'_> {
    /// The collation of what is made of these parts (`parse_collate.c`): that of a column
    /// is stronger than the database's own, and two of columns are a conflict.
    pub(super) fn collation_of<'t>(
        &self,
        parts: impl IntoIterator<Item = &'t Typed>,
    ) -> Result<Option<Collation>> {
        let mut found: Option<(&Collation, &Typed)> = None;
        for part in parts {
            let Some(collation) = &part.collation else {
                continue;
            };
            match found {
                Some((other, first)) if other != collation => {
                    return Err(Self::error(
                        &part.at,
                        format!(
                            "{} and {} have different collations, and PostgreSQL refuses to choose one",
                            self.show(&first.at),
                            self.show(&part.at)
                        ),
                    ));
                }
                _ => found = Some((collation, part)),
            }
        }
        Ok(found.map(|(collation, _)| collation.clone()))
    }

    /// Upper and lower case are known for the database's own collation and C.
    pub(super) fn must_have_letters(&self, of: &Typed, word: &str) -> Result<Case> {
        match (&of.collation, self.scope.encoding) {
            (_, Encoding::SqlAscii) => Err(Self::error(
                &of.at,
                format!("`{word}` has no meaning in a database with the encoding SQL_ASCII"),
            )),
            (Some(Collation::Other(collation)), _) => Err(Self::error(
                &of.at,
                format!(
                    "{} has the collation {collation}, whose upper and lower case are not known here: `{word}` cannot be used with it",
                    self.show(&of.at)
                ),
            )),
            (Some(Collation::Bytes(_)), _) => Ok(Case::Ascii),
            _ => Ok(Case::Database),
        }
    }
}
