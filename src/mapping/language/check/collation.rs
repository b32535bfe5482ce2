//! Which collation a text has: that of the columns which it comes of.

use crate::mapping::language::error::{Result, Span};
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

    /// Of texts that are bytes there are no characters to count, to cut or to match.
    pub(super) fn must_have_characters(&self, at: &Span, word: &str) -> Result<()> {
        match self.scope.encoding {
            Encoding::SqlAscii => Err(Self::error(
                at,
                format!(
                    "`{word}` has no meaning in a database with the encoding SQL_ASCII, whose texts are bytes: compare them with =, <>, `in` or `is null`"
                ),
            )),
            Encoding::Utf8 | Encoding::Latin1 | Encoding::Other => Ok(()),
        }
    }

    /// Upper and lower case are known for the database's own collation and C.
    pub(super) fn must_have_letters(&self, of: &Typed, word: &str) -> Result<Case> {
        self.must_have_characters(&of.at, word)?;
        match &of.collation {
            Some(Collation::Other(collation)) => Err(Self::error(
                &of.at,
                format!(
                    "{} has the collation {collation}, whose upper and lower case are not known here: `{word}` cannot be used with it",
                    self.show(&of.at)
                ),
            )),
            Some(Collation::Bytes(_)) => Ok(Case::Ascii),
            _ => Ok(Case::Database),
        }
    }
}
