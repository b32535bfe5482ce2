//! URLs for others than the one who gave them.

use std::fmt::Write as _;

use crate::conninfo::ConnInfo;

/// A database as psql's `\connect` takes it, without a login: that of the session stays.
pub(super) fn of_database(conninfo: &ConnInfo, with_server: bool) -> String {
    let database = percent_encoded(conninfo.dbname());
    match with_server {
        true => format!(
            "postgresql:///{database}?host={}&port={}",
            percent_encoded(conninfo.host()),
            conninfo.port()
        ),
        false => format!("postgresql:///{database}"),
    }
}

fn percent_encoded(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        match byte.is_ascii_alphanumeric() || b"-_.".contains(&byte) {
            true => encoded.push(char::from(byte)),
            false => {
                let _ = write!(encoded, "%{byte:02X}");
            }
        }
    }
    encoded
}
