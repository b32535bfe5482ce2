//! The password file, `~/.pgpass` (PostgreSQL manual, §34.16): lines of
//! `host:port:database:user:password`, where `*` matches anything and `\`
//! stands before a literal `:` or `\`.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use tracing::warn;

/// Whose password is looked for.
#[derive(Clone, Copy)]
pub(super) struct Login<'a> {
    /// The host as it was written; a Unix socket's default directory counts as `localhost`.
    pub(super) host: &'a str,
    pub(super) port: u16,
    pub(super) dbname: &'a str,
    pub(super) user: &'a str,
}

/// The password for `login`. A file that others may read is ignored with a
/// warning, as libpq does; a file that does not exist is no fault.
pub(super) fn password(path: &Path, login: Login<'_>) -> Option<String> {
    let metadata = match std::fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
        Err(error) => {
            warn!(path = %path.display(), %error, "ignored the password file: it cannot be read");
            return None;
        }
    };
    if !metadata.is_file() {
        warn!(path = %path.display(), "ignored the password file: it is not a plain file");
        return None;
    }
    if metadata.permissions().mode() & 0o077 != 0 {
        warn!(path = %path.display(), "ignored the password file: others may read it; run `chmod 0600` on it");
        return None;
    }
    match std::fs::read_to_string(path) {
        Ok(text) => find(&text, login),
        Err(error) => {
            warn!(path = %path.display(), %error, "ignored the password file: it cannot be read");
            None
        }
    }
}

/// The password of the first line that matches.
fn find(text: &str, login: Login<'_>) -> Option<String> {
    let port = login.port.to_string();
    let wanted = [login.host, &port, login.dbname, login.user];
    text.lines()
        .filter(|line| !line.starts_with('#'))
        .find_map(|line| {
            let mut rest = line;
            for wanted in wanted {
                let (field, after) = split_field(rest)?;
                if field != "*" && unescape(field) != wanted {
                    return None;
                }
                rest = after;
            }
            // libpq ends the password at the next bare colon.
            let password = split_field(rest).map_or(rest, |(field, _)| field);
            Some(unescape(password)).filter(|password| !password.is_empty())
        })
}

/// Splits at the first colon that no backslash stands before.
fn split_field(text: &str) -> Option<(&str, &str)> {
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b':' => return Some((&text[..at], &text[at + 1..])),
            _ => {}
        }
    }
    None
}

fn unescape(field: &str) -> String {
    let mut out = String::with_capacity(field.len());
    let mut characters = field.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => out.extend(characters.next()),
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "\
# db:5432:app:alice:commented out
broken line
db:5432:other:alice:wrong
db:*:app:alice:right
::1\\:x:5432:*:*:never
\\:\\:1:5432:*:bob:with\\:colon\\\\
*:*:*:*:anything
";

    fn login<'a>(host: &'a str, dbname: &'a str, user: &'a str) -> Login<'a> {
        Login {
            host,
            port: 5432,
            dbname,
            user,
        }
    }

    #[test]
    fn the_first_line_that_matches_wins() {
        let find = |host, dbname, user| find(FILE, login(host, dbname, user)).unwrap();
        assert_eq!(find("db", "app", "alice"), "right");
        assert_eq!(find("::1", "app", "bob"), "with:colon\\");
        assert_eq!(find("elsewhere", "app", "alice"), "anything");
        assert_eq!(super::find("", login("db", "app", "alice")), None);
    }

    #[test]
    fn a_file_that_others_may_read_is_ignored() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("pgpass");
        std::fs::write(&path, FILE).unwrap();
        let mode = |mode| {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            password(&path, login("db", "app", "alice"))
        };
        assert_eq!(mode(0o600).as_deref(), Some("right"));
        assert_eq!(mode(0o640), None);
        assert_eq!(
            password(directory.path(), login("db", "app", "alice")),
            None
        );
        assert_eq!(
            password(&directory.path().join("absent"), login("db", "a", "b")),
            None
        );
    }
}
