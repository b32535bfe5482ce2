//! A server that refuses us: what its administrator does about it.

use tokio_postgres::error::SqlState;

use crate::conninfo::ConnInfo;
use crate::db::quote_identifier;
use crate::preflight::Finding;
use crate::preflight::ForeignStore;
use crate::source::rights;
use crate::terminal::chain;

/// The finding that `what` cannot be read, with what fixes it where the server said so.
pub(super) fn unreachable(
    what: &str,
    error: &anyhow::Error,
    conninfo: Option<&ConnInfo>,
) -> Finding {
    let finding = Finding::failure(format!("{what} cannot be read"), chain(error));
    match conninfo.and_then(|conninfo| mend(error, conninfo)) {
        Some(mend) => finding.mend(mend),
        None => finding,
    }
}

/// The texts are translated and several share a SQLSTATE: the server's routine tells.
fn mend(error: &anyhow::Error, conninfo: &ConnInfo) -> Option<String> {
    if let Some(ForeignStore { owner, role, .. }) = error.downcast_ref() {
        let (owner, role) = (quote_identifier(owner), quote_identifier(role));
        return Some(format!("grant {owner} to {role};"));
    }
    let refused = error
        .chain()
        .find_map(|cause| cause.downcast_ref::<tokio_postgres::Error>())?
        .as_db_error()?;
    let (database, role) = (
        quote_identifier(conninfo.dbname()),
        quote_identifier(conninfo.user()),
    );
    match (refused.code(), refused.routine()?) {
        (&SqlState::INVALID_AUTHORIZATION_SPECIFICATION, "ClientAuthentication") => Some(format!(
            "in pg_hba.conf, above the line that refuses it: host {database} {role} <walhook's address>/32 \
             scram-sha-256; then: select pg_reload_conf();"
        )),
        (&SqlState::INVALID_AUTHORIZATION_SPECIFICATION, "InitializeSessionUserId") => {
            Some(format!("alter role {role} with login;"))
        }
        (&SqlState::INSUFFICIENT_PRIVILEGE, "CheckMyDatabase") => {
            Some(rights::connect(conninfo.user(), conninfo.dbname()))
        }
        _ => None,
    }
}
