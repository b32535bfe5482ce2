//! The role that the API's queries run as: ours alone, and nothing but that.

use anyhow::Context;

use super::finding::Finding;
use super::store::StoreRole;
use crate::conninfo::Client;
use crate::db::{NAME_BYTES, SchemaState, Store, quote_identifier};

/// The tenant role and what of it is another's, read once.
#[derive(Clone, Debug)]
pub struct TenantRole {
    name: String,
    /// Grants of it to roles that are neither ours nor superusers.
    members: Vec<Membership>,
    /// Databases in which it is used already, before our store exists.
    uses: Vec<String>,
}

#[derive(Clone, Debug)]
struct Membership {
    member: String,
    grantor: String,
    /// Who has it by being a member of that one.
    by_member: Vec<String>,
}

pub(super) async fn read(
    client: &Client,
    store: &Store,
    state: &SchemaState,
) -> anyhow::Result<TenantRole> {
    let name = store.tenant_role(state);
    let members = client
        .query(
            include_str!("../../sql/queries/preflight/tenant_role_members.sql"),
            &[&name],
        )
        .await
        .context("read who is a member of the tenant role")?;
    let members = members.iter().map(|row| Membership {
        member: row.get("member"),
        grantor: row.get("grantor"),
        by_member: row.get("by_member"),
    });
    let members = members.collect();
    let uses = match state {
        SchemaState::Current { .. } | SchemaState::Other => Vec::new(),
        SchemaState::Absent => {
            let sql = include_str!("../../sql/queries/preflight/tenant_role_uses.sql");
            let rows = client.query(sql, &[&name, &store.schema()]).await;
            let rows = rows.context("read where the tenant role is used")?;
            rows.iter().map(|row| row.get("database")).collect()
        }
    };
    Ok(TenantRole {
        name,
        members,
        uses,
    })
}

/// Makes the store's role a member. A membership without the right to become the role stays
/// so where a grant is silent, and the role's rights are to be had by becoming it only.
pub fn grant(tenant_role: &str, role: &StoreRole) -> String {
    let options = match role.version_number >= 160_000 {
        true => " with set true, inherit false",
        false => "",
    };
    let (tenant_role, owner) = (quote_identifier(tenant_role), quote_identifier(&role.name));
    format!("grant {tenant_role} to {owner}{options};")
}

impl TenantRole {
    pub(super) fn findings(&self, role: &StoreRole) -> Vec<Finding> {
        let name = &self.name;
        let quoted = quote_identifier(name);
        let mut findings = vec![self.membership(role)];
        if name.len() > NAME_BYTES {
            findings.push(Finding::failure(
                format!("store.tenant_role `{name}` has more than {NAME_BYTES} bytes"),
                "PostgreSQL would cut it: take a shorter one",
            ));
        }
        if role.tenant_role_may_too_much {
            findings.push(
                Finding::failure(
                    format!("the tenant role `{name}` may log in or pass row-level security by"),
                    "it is what keeps tenants apart",
                )
                .mend(format!(
                    "alter role {quoted} nologin nosuperuser nobypassrls;"
                )),
            );
        }
        if !self.uses.is_empty() {
            findings.push(Finding::failure(
                format!(
                    "the role `{name}` owns or was granted something already, in {}",
                    self.uses.join(", ")
                ),
                "a tenant role belongs to one installation: set store.tenant_role to a name of its own, \
                 or, where no other uses it, drop it",
            ));
        }
        findings.extend(
            self.members
                .iter()
                .map(|membership| membership.finding(name, role)),
        );
        findings
    }

    fn membership(&self, role: &StoreRole) -> Finding {
        let name = &self.name;
        let why = "the API answers each tenant under this role, which sees that tenant's rows only";
        let lacks = format!("the role `{}` is no member of `{name}`", role.name);
        match (role.tenant_role_exists, role.may_become_tenant) {
            (true, true) => Finding::ok(format!("the store's role may become `{name}`")),
            (true, false) if role.superuser => {
                Finding::ok(format!("the store's role may become `{name}`"))
            }
            // Before 16, a role that may create roles may also grant them.
            (true, false) if role.may_create_role && role.version_number < 160_000 => {
                Finding::setup(lacks)
            }
            (true, false) => Finding::failure(lacks, why).mend(grant(name, role)),
            (false, _) if role.may_create_role => {
                Finding::setup(format!("the tenant role `{name}` does not exist"))
            }
            (false, _) => Finding::failure(
                format!(
                    "the tenant role `{name}` does not exist and `{}` may not create roles",
                    role.name
                ),
                why,
            )
            .mend(format!("create role {} nologin;", quote_identifier(name)))
            .mend(grant(name, role)),
        }
    }
}

impl Membership {
    fn finding(&self, tenant_role: &str, role: &StoreRole) -> Finding {
        let others = match self.by_member.as_slice() {
            [] => String::new(),
            others => format!(", and through it `{}`", others.join("`, `")),
        };
        // From 16 on a role may be granted once by each of several.
        let by = match role.version_number >= 160_000 {
            true => format!(" granted by {}", quote_identifier(&self.grantor)),
            false => String::new(),
        };
        Finding::failure(
            format!(
                "the role `{}` is a member of the tenant role `{tenant_role}`{others}",
                self.member
            ),
            "it may read and change what every tenant has: only the store's role may become this one",
        )
        .mend(format!(
            "revoke {} from {}{by};",
            quote_identifier(tenant_role),
            quote_identifier(&self.member)
        ))
    }
}
