//! A position in the write-ahead log.

use std::fmt;
use std::str::FromStr;

use bytes::BytesMut;
use tokio_postgres::types::{FromSql, IsNull, PgLsn, ToSql, Type, to_sql_checked};

/// A log sequence number: a byte offset in the write-ahead log of one
/// PostgreSQL system. Written as `16/B374D848`, as PostgreSQL's `pg_lsn` is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lsn(pub u64);

impl Lsn {
    pub const ZERO: Lsn = Lsn(0);
}

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:X}/{:X}", self.0 >> 32, self.0 & 0xFFFF_FFFF)
    }
}

/// The text was not two hexadecimal numbers of at most 32 bits around a slash.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("`{0}` is not an LSN: expected two hexadecimal numbers as in `16/B374D848`")]
pub struct ParseLsnError(String);

impl FromStr for Lsn {
    type Err = ParseLsnError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || ParseLsnError(text.to_owned());
        let (high, low) = text.split_once('/').ok_or_else(error)?;
        let part = |hex: &str| {
            let well_formed =
                (1..=8).contains(&hex.len()) && hex.bytes().all(|b| b.is_ascii_hexdigit());
            well_formed
                .then(|| u64::from_str_radix(hex, 16).ok())
                .flatten()
        };
        let high = part(high).ok_or_else(error)?;
        let low = part(low).ok_or_else(error)?;
        Ok(Lsn(high << 32 | low))
    }
}

impl ToSql for Lsn {
    fn to_sql(
        &self,
        ty: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        PgLsn::from(self.0).to_sql(ty, out)
    }

    fn accepts(ty: &Type) -> bool {
        <PgLsn as ToSql>::accepts(ty)
    }

    to_sql_checked!();
}

impl<'a> FromSql<'a> for Lsn {
    fn from_sql(
        ty: &Type,
        raw: &'a [u8],
    ) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        PgLsn::from_sql(ty, raw).map(|lsn| Lsn(lsn.into()))
    }

    fn accepts(ty: &Type) -> bool {
        <PgLsn as FromSql<'_>>::accepts(ty)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_writes() {
        for (text, number) in [
            ("0/0", 0),
            ("16/B374D848", 0x16_B374_D848),
            ("FFFFFFFF/FFFFFFFF", u64::MAX),
        ] {
            assert_eq!(text.parse(), Ok(Lsn(number)));
            assert_eq!(Lsn(number).to_string(), text);
        }
    }

    #[test]
    fn refuses_what_is_not_an_lsn() {
        for text in [
            "",
            "/",
            "1",
            "1/",
            "/1",
            "+1/1",
            "1/-1",
            "123456789/0",
            "g/0",
            "1/2/3",
        ] {
            assert!(text.parse::<Lsn>().is_err(), "{text}");
        }
    }
}
