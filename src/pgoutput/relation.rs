//! Relations: the tables whose rows the WAL carries.

use super::error::DecodeError;
use super::reader::Reader;

/// A table as the stream describes it (`R`): sent once a session and again after
/// its definition changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relation {
    pub oid: u32,
    pub namespace: String,
    pub name: String,
    pub replica_identity: ReplicaIdentity,
    pub columns: Vec<Column>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    pub name: String,
    /// Part of the replica identity. Under FULL every column is: it is not the primary key.
    pub identity: bool,
    /// The column's type. For a domain over a built-in type, that built-in type
    /// (the stream's Type messages say so), so that its values read as such.
    pub type_oid: u32,
    pub type_modifier: i32,
}

/// How old rows are identified in the WAL (`pg_class.relreplident`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplicaIdentity {
    Default,
    Nothing,
    Full,
    Index,
}

impl Relation {
    pub fn column_index(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| column.name == name)
    }

    /// `schema.table`, unquoted: for people and for matching rules, not for SQL.
    pub fn qualified_name(&self) -> String {
        format!("{}.{}", self.namespace, self.name)
    }

    /// Reads what follows the oid of a Relation message.
    pub(super) fn read(oid: u32, reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let namespace = namespace(reader.name()?);
        let name = reader.name()?.to_owned();
        let replica_identity = match reader.u8()? {
            b'd' => ReplicaIdentity::Default,
            b'n' => ReplicaIdentity::Nothing,
            b'f' => ReplicaIdentity::Full,
            b'i' => ReplicaIdentity::Index,
            other => return Err(reader.unexpected(other, "a replica identity (d, n, f or i)")),
        };
        let count = reader.count16()?;
        reader.require(count * SMALLEST_COLUMN)?;
        let mut columns = Vec::with_capacity(count);
        for _ in 0..count {
            columns.push(Column {
                identity: reader.u8()? & IDENTITY_FLAG != 0,
                name: reader.name()?.to_owned(),
                type_oid: reader.u32()?,
                type_modifier: reader.i32()?,
            });
        }
        reader.finish()?;
        Ok(Relation {
            oid,
            namespace,
            name,
            replica_identity,
            columns,
        })
    }
}

/// The server writes the empty string for its own schema.
pub(super) fn namespace(written: &str) -> String {
    if written.is_empty() {
        "pg_catalog".to_owned()
    } else {
        written.to_owned()
    }
}

/// The only flag of a column that protocol 1 knows.
const IDENTITY_FLAG: u8 = 1;

/// Flags, the end of an empty name, type, type modifier: in bytes.
const SMALLEST_COLUMN: usize = 1 + 1 + 4 + 4;
