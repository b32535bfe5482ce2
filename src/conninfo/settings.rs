//! The two spellings of a connection string, `postgres://…` and `key=value …`,
//! read into libpq's parameters (PostgreSQL manual, §34.1), completed from the
//! environment (§34.15).
//!
//! Messages never quote the string: a misplaced `@` makes any part of it the password.

use std::collections::BTreeMap;

use super::ConnInfoError;

/// A parameter that walhook reads, and the variable that stands in for it.
const PARAMETERS: [(&str, Option<&str>); 27] = [
    ("host", Some("PGHOST")),
    ("hostaddr", Some("PGHOSTADDR")),
    ("port", Some("PGPORT")),
    ("user", Some("PGUSER")),
    ("password", Some("PGPASSWORD")),
    ("dbname", Some("PGDATABASE")),
    ("passfile", Some("PGPASSFILE")),
    ("options", Some("PGOPTIONS")),
    ("application_name", Some("PGAPPNAME")),
    ("fallback_application_name", None),
    ("connect_timeout", Some("PGCONNECT_TIMEOUT")),
    ("sslmode", Some("PGSSLMODE")),
    ("sslnegotiation", Some("PGSSLNEGOTIATION")),
    ("sslrootcert", Some("PGSSLROOTCERT")),
    ("sslcert", Some("PGSSLCERT")),
    ("sslkey", Some("PGSSLKEY")),
    ("channel_binding", Some("PGCHANNELBINDING")),
    ("target_session_attrs", Some("PGTARGETSESSIONATTRS")),
    ("load_balance_hosts", Some("PGLOADBALANCEHOSTS")),
    ("tcp_user_timeout", None),
    ("keepalives", None),
    ("keepalives_idle", None),
    ("keepalives_interval", None),
    ("keepalives_count", None),
    ("client_encoding", None),
    ("gssencmode", Some("PGGSSENCMODE")),
    ("sslcompression", None),
];

/// What libpq knows and walhook does not: refused, because to drop one of these
/// silently may weaken a connection.
const UNSUPPORTED: [&str; 24] = [
    "gssdelegation",
    "gsslib",
    "krbsrvname",
    "load_balance",
    "max_protocol_version",
    "min_protocol_version",
    "oauth_client_id",
    "oauth_client_secret",
    "oauth_issuer",
    "oauth_scope",
    "replication",
    "require_auth",
    "requirepeer",
    "requiressl",
    "scram_client_key",
    "scram_server_key",
    "service",
    "ssl_max_protocol_version",
    "ssl_min_protocol_version",
    "sslcertmode",
    "sslcrl",
    "sslcrldir",
    "sslkeylogfile",
    "sslpassword",
];

/// Looks a variable of the environment up; tests bring their own.
pub(super) type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// The parameters of one connection string, by libpq's names.
#[derive(Default)]
pub(super) struct Settings(BTreeMap<&'static str, String>);

impl Settings {
    pub(super) fn parse(text: &str, environment: Environment<'_>) -> Result<Self, ConnInfoError> {
        let mut settings = Settings::default();
        let url = ["postgres://", "postgresql://"]
            .iter()
            .find_map(|scheme| text.strip_prefix(scheme));
        match url {
            Some(rest) => settings.read_url(rest)?,
            None => settings.read_pairs(text)?,
        }
        for (name, variable) in PARAMETERS {
            let value = variable.and_then(environment);
            if let Some(value) = value.filter(|value| !value.is_empty()) {
                settings.0.entry(name).or_insert(value);
            }
        }
        Ok(settings)
    }

    /// An empty value counts as absent, as it does in libpq.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0
            .get(name)
            .map(String::as_str)
            .filter(|value| !value.is_empty())
    }

    /// A list such as `host=a,b`; empty where the parameter is absent.
    pub(super) fn list(&self, name: &str) -> Vec<&str> {
        self.get(name)
            .map_or_else(Vec::new, |value| value.split(',').map(str::trim).collect())
    }

    pub(super) fn parsed<T>(
        &self,
        name: &'static str,
        expected: &'static str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Result<Option<T>, ConnInfoError> {
        self.get(name)
            .map(|value| parse(value).ok_or(ConnInfoError::Invalid { name, expected }))
            .transpose()
    }

    fn set(&mut self, name: &str, value: String) -> Result<(), ConnInfoError> {
        let name = match name {
            "keepalives_retries" => "keepalives_count",
            name => name,
        };
        if let Some((name, _)) = PARAMETERS.iter().find(|(known, _)| *known == name) {
            self.0.insert(name, value);
            return Ok(());
        }
        // JDBC's spelling, which libpq takes too.
        if name == "ssl" && value == "true" {
            self.0.insert("sslmode", "require".to_owned());
            return Ok(());
        }
        let name = name.to_owned();
        if UNSUPPORTED.contains(&name.as_str()) {
            return Err(ConnInfoError::Unsupported { name });
        }
        let nearest = PARAMETERS
            .iter()
            .map(|(known, _)| *known)
            .max_by(|a, b| {
                strsim::jaro_winkler(a, &name).total_cmp(&strsim::jaro_winkler(b, &name))
            })
            .unwrap_or("host");
        Err(ConnInfoError::Unknown { name, nearest })
    }

    /// `user:password@host:port,host:port/dbname?name=value&…`, what follows the scheme.
    fn read_url(&mut self, rest: &str) -> Result<(), ConnInfoError> {
        let (rest, query) = match rest.split_once('?') {
            Some((rest, query)) => (rest, Some(query)),
            None => (rest, None),
        };
        let (authority, dbname) = match rest.split_once('/') {
            Some((authority, dbname)) => (authority, Some(dbname)),
            None => (rest, None),
        };
        let hosts = match authority.split_once('@') {
            Some((credentials, hosts)) => {
                let (user, password) = match credentials.split_once(':') {
                    Some((user, password)) => (user, Some(password)),
                    None => (credentials, None),
                };
                self.set("user", decode(user)?)?;
                if let Some(password) = password {
                    self.set("password", decode(password)?)?;
                }
                hosts
            }
            None => authority,
        };
        let misplaced = |part: Option<&str>| part.is_some_and(|part| part.contains('@'));
        // `user:pass?word@host`: what looks like a query may be the password's end.
        let cut = !authority.contains('@') && authority.contains(':') && misplaced(query);
        if hosts.contains('@') || misplaced(dbname) || cut {
            return Err(ConnInfoError::Syntax(
                "an `@` stands where none may: write `@` `:` `/` `?` `#` in a user name or password as `%40` `%3A` `%2F` `%3F` `%23`",
            ));
        }
        self.read_hosts(hosts)?;
        if let Some(dbname) = dbname {
            self.set("dbname", decode(dbname)?)?;
        }
        for pair in query
            .into_iter()
            .flat_map(|query| query.split('&'))
            .filter(|pair| !pair.is_empty())
        {
            let (name, value) = pair.split_once('=').ok_or(ConnInfoError::Syntax(
                "after `?` expected `name=value` pairs joined by `&`",
            ))?;
            self.set(&decode(name)?, decode(value)?)?;
        }
        Ok(())
    }

    fn read_hosts(&mut self, hosts: &str) -> Result<(), ConnInfoError> {
        if hosts.is_empty() {
            return Ok(());
        }
        let (mut names, mut ports) = (Vec::new(), Vec::new());
        for host in hosts.split(',') {
            let (name, port) = match host.strip_prefix('[') {
                Some(v6) => v6.split_once(']').ok_or(ConnInfoError::Syntax(
                    "an IPv6 address in a URL ends with `]`",
                ))?,
                None => host.split_at(host.find(':').unwrap_or(host.len())),
            };
            let port = match port.strip_prefix(':') {
                Some(port) => port,
                None if port.is_empty() => "",
                None => {
                    return Err(ConnInfoError::Syntax(
                        "after `]` expected `:` and a port, or nothing",
                    ));
                }
            };
            names.push(decode(name)?);
            ports.push(decode(port)?);
        }
        if names.iter().any(|name| !name.is_empty()) {
            self.set("host", names.join(","))?;
        }
        if ports.iter().any(|port| !port.is_empty()) {
            self.set("port", ports.join(","))?;
        }
        Ok(())
    }

    /// `name = value name='quoted value'`, with `\` before a literal `'` or `\`.
    fn read_pairs(&mut self, text: &str) -> Result<(), ConnInfoError> {
        let mut rest = text.trim_start();
        while !rest.is_empty() {
            let (name, after) = rest.split_once('=').ok_or(ConnInfoError::Syntax(
                "expected `postgres://user@host/dbname` or `host=… user=… dbname=…`",
            ))?;
            let name = name.trim_end();
            if name.contains(char::is_whitespace) {
                return Err(ConnInfoError::Syntax(
                    "a parameter's name and value are joined by `=`; a value that holds a space stands in single quotes",
                ));
            }
            let (value, after) = pair_value(after.trim_start())?;
            self.set(name, value)?;
            rest = after.trim_start();
        }
        Ok(())
    }
}

/// Splits a value, quoted or not, from what follows it.
fn pair_value(text: &str) -> Result<(String, &str), ConnInfoError> {
    let quoted = text.starts_with('\'');
    let mut value = String::new();
    let mut characters = text.char_indices().skip(usize::from(quoted));
    while let Some((at, character)) = characters.next() {
        match character {
            '\\' => value.extend(characters.next().map(|(_, escaped)| escaped)),
            '\'' if quoted => return Ok((value, &text[at + 1..])),
            space if !quoted && space.is_whitespace() => return Ok((value, &text[at..])),
            other => value.push(other),
        }
    }
    if quoted {
        return Err(ConnInfoError::Syntax(
            "a quoted value does not end: expected a closing `'`",
        ));
    }
    Ok((value, ""))
}

/// Undoes percent-encoding. A `+` stays a plus, as in libpq.
fn decode(text: &str) -> Result<String, ConnInfoError> {
    let wrong = ConnInfoError::Syntax(
        "a `%` in a URL must be followed by two hexadecimal digits of UTF-8 text: write `%25` for a literal `%`",
    );
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        if *first != b'%' {
            bytes.push(*first);
            rest = after;
            continue;
        }
        let digit = |at: usize| {
            after
                .get(at)
                .and_then(|byte| char::from(*byte).to_digit(16))
        };
        match (digit(0), digit(1)) {
            (Some(high), Some(low)) if high + low > 0 => {
                bytes.push((high << 4 | low) as u8);
                rest = &after[2..];
            }
            _ => return Err(wrong),
        }
    }
    String::from_utf8(bytes).map_err(|_| wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Settings, ConnInfoError> {
        Settings::parse(text, &|_| None)
    }

    #[test]
    fn both_spellings_say_the_same() {
        let url = read("postgresql://al%40ice:p%2F%25@db1:6432,[::1]/app?sslmode=verify-full&options=-c%20a%3Db").unwrap();
        let pairs = read(
            r"user=al@ice password='p/%' host = db1,::1 port=6432, dbname=app sslmode=verify-full options='-c a=b'",
        )
        .unwrap();
        assert_eq!(url.0, pairs.0);
        assert_eq!(url.list("host"), ["db1", "::1"]);
        assert_eq!(url.list("port"), ["6432", ""]);
    }

    #[test]
    fn a_socket_directory_may_stand_as_host_or_parameter() {
        let host = read("postgres://me@%2Frun%2Fpg/app").unwrap();
        let parameter = read("postgres:///app?host=/run/pg&user=me").unwrap();
        assert_eq!(host.0, parameter.0);
    }

    #[test]
    fn quotes_and_escapes() {
        let settings = read(r"password='it\'s \\ here' user=a\ b").unwrap();
        assert_eq!(settings.get("password"), Some(r"it's \ here"));
        assert_eq!(settings.get("user"), Some("a b"));
    }

    #[test]
    fn the_environment_fills_what_the_text_leaves_out() {
        let environment = |name: &str| match name {
            "PGHOST" => Some("elsewhere".to_owned()),
            "PGPASSWORD" => Some("secret".to_owned()),
            "PGPORT" => Some(String::new()),
            _ => None,
        };
        let settings = Settings::parse("host=here", &environment).unwrap();
        assert_eq!(settings.get("host"), Some("here"));
        assert_eq!(settings.get("password"), Some("secret"));
        assert_eq!(settings.get("port"), None);
    }

    #[test]
    fn refuses_with_the_nearest_name_and_never_quotes_the_text() {
        let message = |text| read(text).err().unwrap().to_string();
        assert_eq!(
            message("postgres://h/d?ssl_mode=require"),
            "unknown connection parameter `ssl_mode`: did you mean `sslmode`?"
        );
        assert!(message("host=h requirepeer=postgres").contains("`requirepeer`"));
        for text in [
            "postgres://u:hunter2@hunter2@h/d",
            "postgres://u:hunter2/x@h/d",
            "postgres://u:x?hunter2=x@h/d",
            "postgres://u:hunter2%zz@h/d",
            "postgres://u:hunter2%00@h/d",
            "password='hunter2",
            "hunter2",
            "postgres://[hunter2",
            "postgres://h/d?hunter2",
        ] {
            let message = message(text);
            assert!(!message.contains("hunter2"), "{text}: {message}");
        }
    }
}
