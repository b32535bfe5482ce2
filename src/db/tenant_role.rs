//! The role that the API's queries run as: each installation has its own.

use sha2::{Digest, Sha256};

/// What PostgreSQL keeps of a name, in bytes.
pub const NAME_BYTES: usize = 63;

/// Bytes of a hash in a name that was cut, in hex: 32 bits tell the databases of a cluster apart.
const HASH_BYTES: usize = 4;

/// The name that a new store's tenant role gets: the configured one, or one of the database
/// and the schema, because roles belong to the whole cluster.
pub fn tenant_role_name(configured: &str, database: &str, schema: &str) -> String {
    if !configured.is_empty() {
        return configured.to_owned();
    }
    let name = format!("walhook_tenant_{database}_{schema}");
    if name.len() <= NAME_BYTES {
        return name;
    }
    let hash = Sha256::digest(format!("{database}\0{schema}"));
    let hash: String = hash[..HASH_BYTES]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let end = name.floor_char_boundary(NAME_BYTES - 1 - hash.len());
    format!("{}_{hash}", &name[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_is_of_database_and_schema_unless_configured() {
        assert_eq!(
            tenant_role_name("", "app", "walhook"),
            "walhook_tenant_app_walhook"
        );
        assert_eq!(tenant_role_name("mine", "app", "walhook"), "mine");
    }

    #[test]
    fn name_that_is_too_long_is_cut_and_stays_unique() {
        let long = "ä".repeat(30);
        let (one, other) = (
            tenant_role_name("", &long, "walhook"),
            tenant_role_name("", &long, "walhook2"),
        );
        assert_ne!(one, other);
        for name in [one, other] {
            assert!(name.len() <= NAME_BYTES, "{name}");
            assert!(name.starts_with("walhook_tenant_ää"));
        }
    }
}
