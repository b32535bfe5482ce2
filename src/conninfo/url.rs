//! URLs for others than the one who gave them: walhook's own roles, and psql.

use std::fmt::Write as _;

use super::ConnInfo;

/// The parameters that are not of the login that was given: how the server is reached and
/// known. The rest says who logs in, or is of one session.
const KEPT: [&str; 9] = [
    "host",
    "hostaddr",
    "port",
    "dbname",
    "sslmode",
    "sslrootcert",
    "sslnegotiation",
    "channel_binding",
    "target_session_attrs",
];

/// The same servers, database and TLS for another role, without a password. `conninfo` is what
/// `given` means here.
pub(crate) fn of_role(role: &str, given: &str, conninfo: &ConnInfo) -> Result<String, String> {
    let given = given.trim();
    let rest = given
        .strip_prefix("postgres://")
        .or_else(|| given.strip_prefix("postgresql://"));
    let rest = rest
        .ok_or_else(|| "expected a URL, as in postgres://postgres@db.example.com/app".to_owned())?;
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let hosts = authority
        .rsplit_once('@')
        .map_or(authority, |(_, hosts)| hosts);
    let mut kept: Vec<String> = query
        .split('&')
        .filter(|pair| KEPT.contains(&name_of(pair)))
        .map(str::to_owned)
        .collect();
    let names = |names: &[&str]| kept.iter().any(|pair| names.contains(&name_of(pair)));
    let (names_host, names_port) = (names(&["host", "hostaddr"]), names(&["port"]));
    // What the URL leaves to the environment is said: walhook runs in another one.
    let database = match path {
        "" if !names(&["dbname"]) => percent_encoded(conninfo.dbname()),
        path => path.to_owned(),
    };
    if hosts.is_empty() && !names_host {
        kept.insert(0, format!("host={}", percent_encoded(conninfo.host())));
        if conninfo.port() != 5432 && !names_port {
            kept.insert(1, format!("port={}", conninfo.port()));
        }
    }
    let query = match kept.is_empty() {
        true => String::new(),
        false => format!("?{}", kept.join("&")),
    };
    Ok(format!("postgres://{role}@{hosts}/{database}{query}"))
}

/// A database as psql's `\connect` takes it, without a login: that of the session stays.
pub(crate) fn of_database(conninfo: &ConnInfo, with_server: bool) -> String {
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

fn name_of(pair: &str) -> &str {
    pair.split('=').next().unwrap_or_default()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn server_database_and_tls_stay_and_the_login_goes() {
        for (given, expected) in [
            (
                "postgres://postgres:secret@db/app?sslmode=verify-full",
                "postgres://walhook@db/app?sslmode=verify-full",
            ),
            (
                "postgresql://db:6432,[::1]/my%20app?user=a&password=b&sslmode=require&sslkey=k&application_name=x",
                "postgres://walhook@db:6432,[::1]/my%20app?sslmode=require",
            ),
            (
                "postgres:///app?host=/run/postgresql&passfile=p",
                "postgres://walhook@/app?host=/run/postgresql",
            ),
            (
                "postgres://root@db?dbname=app",
                "postgres://walhook@db/?dbname=app",
            ),
            ("postgres://a%40b:p%2Fq@db", "postgres://walhook@db/a%40b"),
        ] {
            let conninfo = ConnInfo::parse(given).unwrap();
            assert_eq!(of_role("walhook", given, &conninfo).unwrap(), expected);
        }
        let pairs = "host=db user=a dbname=app";
        assert!(of_role("walhook", pairs, &ConnInfo::parse(pairs).unwrap()).is_err());
    }
}
