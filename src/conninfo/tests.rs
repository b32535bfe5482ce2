//! Connection strings as a whole.

use secrecy::ExposeSecret;

use super::*;

fn resolve(text: &str) -> ConnInfo {
    ConnInfo::resolve(text, &|_| None).unwrap()
}

fn refusal(text: &str) -> String {
    ConnInfo::resolve(text, &|_| None)
        .err()
        .unwrap()
        .to_string()
}

#[test]
fn says_where_it_leads_and_never_the_password() {
    let conninfo = resolve("postgres://alice:hunter2@db:6432,[::1]/app?sslmode=require");
    assert_eq!(conninfo.describe(), "alice@db:6432,[::1]:5432/app");
    assert_eq!(
        format!("{conninfo:?}"),
        "ConnInfo(alice@db:6432,[::1]:5432/app, Require)"
    );
    assert_eq!(conninfo.password().unwrap().expose_secret(), "hunter2");
    assert_eq!((conninfo.host(), conninfo.port()), ("db", 6432));
}

#[test]
fn defaults_follow_libpq() {
    let conninfo = resolve("host=db user=alice");
    assert_eq!(conninfo.dbname(), "alice");
    assert_eq!(conninfo.port(), 5432);
    assert_eq!(conninfo.ssl_mode(), SslMode::Prefer);
    assert_eq!(
        resolve("host=db user=a sslrootcert=system").ssl_mode(),
        SslMode::VerifyFull
    );
    assert_eq!(resolve("hostaddr=127.0.0.1 user=a").host(), "127.0.0.1");
}

#[test]
fn a_password_file_answers_for_all_hosts_or_for_none() {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("pass");
    std::fs::write(&path, "a:*:*:*:one\nb:*:*:*:two\nlocalhost:*:*:*:near\n").unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    let with = |hosts: &str| {
        let text = format!("host={hosts} user=u passfile={}", path.display());
        ConnInfo::resolve(&text, &|_| None)
            .map(|c| c.password().map(|p| p.expose_secret().to_owned()))
    };
    assert_eq!(with("a").unwrap().as_deref(), Some("one"));
    assert_eq!(with("/tmp").unwrap().as_deref(), Some("near"));
    assert_eq!(with("c").unwrap(), None);
    assert!(with("a,b").is_err());
}

#[test]
fn a_socket_never_takes_tls_and_prefer_has_a_second_way() {
    let conninfo = resolve("host=/run/pg,db user=a sslmode=prefer");
    let endpoints = conninfo.endpoints();
    assert_eq!(conninfo.attempts(&endpoints[0]), [Attempt::Plain]);
    assert_eq!(
        conninfo.attempts(&endpoints[1]),
        [Attempt::TlsIfOffered, Attempt::Plain]
    );
    assert_eq!(
        endpoints[0].unix_socket().unwrap().to_str(),
        Some("/run/pg/.s.PGSQL.5432")
    );
}

#[test]
fn refuses_values_with_what_was_expected() {
    assert!(refusal("host=h user=u sslmode=on").contains("`verify-full`"));
    assert!(refusal("host=h user=u port=0").contains("65535"));
    assert!(refusal("host=a,b user=u port=1,2,3").contains("as many"));
    assert!(refusal("host=h user=u sslnegotiation=direct").contains("require"));
    assert!(refusal("host=h user=u client_encoding=latin1").contains("UTF8"));
}

#[test]
fn tls_files_are_named_when_they_are_wrong() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("empty.pem");
    std::fs::write(&file, "").unwrap();
    let error = |rest: &str| {
        let error = resolve(&format!("host=h user=u {rest}")).tls_config();
        error.err().unwrap().to_string()
    };
    let path = file.display();
    assert!(error(&format!("sslmode=verify-full sslrootcert={path}")).contains("empty.pem"));
    assert!(error("sslmode=verify-full sslrootcert=/absent.pem").contains("/absent.pem"));
    assert!(error("sslmode=verify-ca").contains("sslrootcert"));
    assert!(error("sslmode=verify-ca sslrootcert=system").contains("verify-full"));
    assert!(error("sslmode=require sslcert=/a.pem").contains("sslkey"));
}
