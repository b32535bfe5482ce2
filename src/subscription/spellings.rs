//! Tenants that are the same but for their spelling. Tenants are compared exactly: an event of
//! a tenant that is spelt otherwise than in its subscription is not sent.

use std::collections::HashMap;
use std::sync::Arc;

use uuid::Uuid;

/// Tenants, by what is common to spellings of the same.
#[derive(Default)]
pub struct Spellings(HashMap<String, Arc<str>>);

impl Spellings {
    pub fn of(tenants: impl Iterator<Item = Arc<str>>) -> Self {
        Spellings(tenants.map(|tenant| (spelling(&tenant), tenant)).collect())
    }

    /// One of the tenants whose spelling is this or differs only in case, in blanks around it,
    /// or in how a UUID is written.
    pub fn similar(&self, tenant: &str) -> Option<&Arc<str>> {
        self.0.get(&spelling(tenant))
    }
}

/// Equal for two spellings of the same.
fn spelling(tenant: &str) -> String {
    let tenant = tenant.trim();
    let bare = tenant
        .strip_prefix('{')
        .and_then(|rest| rest.strip_suffix('}'));
    match Uuid::try_parse(bare.unwrap_or(tenant)) {
        Ok(uuid) => uuid.simple().to_string(),
        Err(_) => tenant.to_lowercase(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_one_tenant_differ_in_case_blanks_and_the_form_of_a_uuid() {
        let uuid = "0b9d7c1e-4c8e-4b8b-9a51-0a5d1c5f2e11";
        let known = Spellings::of(["acme", "Größe", uuid].into_iter().map(Arc::from));
        for (tenant, expected) in [
            ("ACME", Some("acme")),
            ("acme      ", Some("acme")),
            ("\tAcme", Some("acme")),
            ("GRÖßE", Some("Größe")),
            ("0B9D7C1E-4C8E-4B8B-9A51-0A5D1C5F2E11", Some(uuid)),
            ("{0b9d7c1e4c8e4b8b9a510a5d1c5f2e11}", Some(uuid)),
            ("ac me", None),
            ("acm", None),
            ("", None),
        ] {
            assert_eq!(known.similar(tenant).map(|found| &**found), expected);
        }
    }
}
