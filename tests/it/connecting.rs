//! Who is let in and how: every sslmode, every method, in both kinds of
//! connection, against a server with TLS.

use ::walhook::conninfo::Purpose;
use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use walhook::conninfo::{ConnInfo, ConnInfoError};
use walhook::demo::postgres::Postgres;
use walhook::pgoutput::StreamEvent;
use walhook::replication::{ReplicationError, SourceConfig, identify, slot, start};

use crate::harness::{connect, start_postgres, stop_at_exit};

/// A server with TLS for `localhost` and a role for each method.
struct Secured {
    server: Postgres,
    /// The CA's certificate, another CA's, and a client's pair.
    ca: PathBuf,
    stranger: PathBuf,
    client: (PathBuf, PathBuf),
    _directory: tempfile::TempDir,
}

const HBA: &str = "\
local   all all                           trust
hostssl all tls_only    127.0.0.1/32      scram-sha-256
hostnossl all plain_only 127.0.0.1/32     scram-sha-256
host    all scram       127.0.0.1/32      scram-sha-256
host    all md5         127.0.0.1/32      md5
host    all cleartext   127.0.0.1/32      password
hostssl all by_cert     127.0.0.1/32      cert
host    all postgres    127.0.0.1/32      trust
";

const ROLES: &str = "
set password_encryption = 'scram-sha-256';
create role tls_only login replication password 'p:@ss w/ord';
create role plain_only login replication password 'p:@ss w/ord';
create role scram login replication password 'p:@ss w/ord';
create role cleartext login replication password 'p:@ss w/ord';
create role by_cert login replication;
create role no_replication login password 'x';
set password_encryption = 'md5';
create role md5 login replication password 'p:@ss w/ord';
alter system set ssl = on;
select pg_reload_conf();";

async fn secured() -> &'static Secured {
    static SECURED: OnceLock<Secured> = OnceLock::new();
    static ONCE: tokio::sync::OnceCell<()> = tokio::sync::OnceCell::const_new();
    ONCE.get_or_init(|| async {
        let secured = prepare().await;
        stop_at_exit(&secured.server);
        assert!(SECURED.set(secured).is_ok());
    })
    .await;
    SECURED.get().unwrap()
}

async fn prepare() -> Secured {
    let server = start_postgres(&[]).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let (ca_pem, issuer) = authority("the CA");
    let (stranger_pem, _) = authority("a stranger");
    fs::write(at("ca.pem"), &ca_pem).unwrap();
    fs::write(at("stranger.pem"), stranger_pem).unwrap();

    let data = server.data_directory();
    let (certificate, key) = signed("localhost", true, &issuer);
    for (name, text) in [
        ("server.crt", &certificate),
        ("server.key", &key),
        ("ca.crt", &ca_pem),
        ("pg_hba.conf", &HBA.to_owned()),
    ] {
        write_as_server(&data, name, text);
    }
    let (certificate, key) = signed("by_cert", false, &issuer);
    fs::write(at("client.crt"), certificate).unwrap();
    fs::write(at("client.key"), key).unwrap();
    fs::set_permissions(at("client.key"), fs::Permissions::from_mode(0o600)).unwrap();

    let admin = connect(&server.url("postgres")).await;
    let set = "alter system set ssl_ca_file = 'ca.crt'";
    admin.batch_execute(set).await.unwrap();
    for statement in ROLES.split_terminator(';') {
        admin.batch_execute(statement).await.unwrap();
    }
    // Reloading is asynchronous: wait until a new connection is offered TLS.
    let url = format!("{}&sslmode=require", server.url("postgres"));
    while ConnInfo::parse(&url)
        .unwrap()
        .connect(Purpose::Application, None)
        .await
        .is_err()
    {}
    Secured {
        ca: at("ca.pem"),
        stranger: at("stranger.pem"),
        client: (at("client.crt"), at("client.key")),
        server,
        _directory: directory,
    }
}

fn authority(name: &str) -> (String, Issuer<'static, KeyPair>) {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let common = rcgen::DnType::CommonName;
    params.distinguished_name.push(common, name);
    let key = KeyPair::generate().unwrap();
    let pem = params.self_signed(&key).unwrap().pem();
    (pem, Issuer::new(params, key))
}

fn signed(name: &str, is_host: bool, issuer: &Issuer<'_, KeyPair>) -> (String, String) {
    let names = if is_host {
        vec![name.to_owned()]
    } else {
        vec![]
    };
    let mut params = CertificateParams::new(names).unwrap();
    params
        .distinguished_name
        .push(rcgen::DnType::CommonName, name);
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, issuer).unwrap();
    (certificate.pem(), key.serialize_pem())
}

fn write_as_server(data: &Path, name: &str, text: &str) {
    let path = data.join(name);
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    let owner = fs::metadata(data).unwrap();
    chown(&path, Some(owner.uid()), Some(owner.gid())).unwrap();
}

impl Secured {
    fn conninfo(&self, user: &str, rest: &str) -> ConnInfo {
        let port = self.server.port();
        let password = r"password='p:@ss w/ord'";
        // The certificate is for `localhost`; the address spares the lookup.
        ConnInfo::parse(&format!(
            "host=localhost hostaddr=127.0.0.1 port={port} user={user} dbname=postgres {password} {rest}"
        ))
        .unwrap()
    }

    /// Connects in both ways, which must agree.
    async fn try_both(&self, conninfo: &ConnInfo) -> Result<(), ReplicationError> {
        let stream = identify(conninfo).await.map(|_| ());
        let client = conninfo.connect(Purpose::Application, None).await;
        assert_eq!(
            stream.is_ok(),
            client.is_ok(),
            "{conninfo:?}: {stream:?} but {:?}",
            client.err()
        );
        stream
    }

    async fn accepts(&self, user: &str, rest: &str) {
        let conninfo = self.conninfo(user, rest);
        if let Err(error) = self.try_both(&conninfo).await {
            panic!("{user} {rest}: {error:?}");
        }
    }

    async fn refuses(&self, user: &str, rest: &str) -> ReplicationError {
        let conninfo = self.conninfo(user, rest);
        match self.try_both(&conninfo).await {
            Ok(()) => panic!("{user} {rest}: was let in"),
            Err(error) => error,
        }
    }
}

#[tokio::test]
async fn every_sslmode_encrypts_and_checks_what_it_says() {
    let server = secured().await;
    let ca = format!("sslrootcert={}", server.ca.display());
    let stranger = format!("sslrootcert={}", server.stranger.display());
    let tls = |error: ReplicationError| {
        assert!(matches!(error, ReplicationError::Tls { .. }), "{error:?}")
    };

    let error = server.refuses("tls_only", "sslmode=disable").await;
    assert!(matches!(error, ReplicationError::Auth { .. }), "{error:?}");
    for rest in ["sslmode=allow", "sslmode=prefer", "sslmode=require"] {
        server.accepts("tls_only", rest).await;
    }
    // Only without TLS: `prefer` falls back on it, `require` does not.
    for rest in ["sslmode=disable", "sslmode=allow", "sslmode=prefer"] {
        server.accepts("plain_only", rest).await;
    }
    server.refuses("plain_only", "sslmode=require").await;

    for mode in ["require", "verify-ca", "verify-full"] {
        let rest = format!("sslmode={mode}");
        server.accepts("scram", &format!("{rest} {ca}")).await;
        // As in libpq, roots that are given are used, under `require` too.
        tls(server.refuses("scram", &format!("{rest} {stranger}")).await);
    }
    server
        .accepts("scram", &format!("sslmode=prefer {stranger}"))
        .await;
    let system = identify(&server.conninfo("scram", "")).await.unwrap();
    if system.major_version >= 17 {
        let rest = format!("sslmode=verify-full {ca} sslnegotiation=direct");
        server.accepts("scram", &rest).await;
    }
}

#[tokio::test]
async fn another_host_name_passes_verify_ca_and_not_verify_full() {
    let server = secured().await;
    let wrong = |mode: &str| {
        format!(
            "host=elsewhere.example sslmode={mode} sslrootcert={}",
            server.ca.display()
        )
    };
    server.accepts("scram", &wrong("require")).await;
    server.accepts("scram", &wrong("verify-ca")).await;
    let error = server.refuses("scram", &wrong("verify-full")).await;
    let ReplicationError::Tls { source, .. } = &error else {
        panic!("{error:?}");
    };
    assert!(source.to_string().contains("elsewhere.example"), "{source}");
    assert!(!error.is_transient());
}

#[tokio::test]
async fn a_server_without_tls_is_refused_where_tls_is_demanded() {
    let plain = crate::harness::server();
    let url = plain.url("postgres").replace("disable", "require");
    let error = identify(&ConnInfo::parse(&url).unwrap()).await.unwrap_err();
    assert!(matches!(error, ReplicationError::NoTls(_)), "{error:?}");
    let conninfo = ConnInfo::parse(&url).unwrap();
    let error = conninfo.connect(Purpose::Application, None).await;
    let text = error.unwrap_err().to_string();
    assert!(text.contains("which sslmode demands"), "{text}");
    let url = plain.url("postgres").replace("disable", "prefer");
    identify(&ConnInfo::parse(&url).unwrap()).await.unwrap();
}

#[tokio::test]
async fn every_method_lets_in_who_knows_the_password() {
    let server = secured().await;
    for user in ["scram", "md5", "cleartext"] {
        for mode in ["disable", "require"] {
            let rest = format!("sslmode={mode}");
            server.accepts(user, &rest).await;
            let error = server
                .refuses(user, &format!("{rest} password=wrong"))
                .await;
            assert!(matches!(error, ReplicationError::Auth { .. }), "{error:?}");
            assert!(!error.is_transient());
            assert!(!format!("{error:?} {error}").contains("wrong"));
        }
    }
    let error = server
        .refuses("scram", "password='' passfile=/absent")
        .await;
    assert!(error.to_string().contains("PGPASSWORD"), "{error}");
    let (certificate, key) = &server.client;
    let pair = format!("sslcert={} sslkey={}", certificate.display(), key.display());
    server
        .accepts("by_cert", &format!("sslmode=require {pair}"))
        .await;
    server.refuses("by_cert", "sslmode=require").await;
}

#[tokio::test]
async fn a_role_without_the_right_to_replicate_is_told_so() {
    let server = secured().await;
    let host = server.server.socket_directory().display();
    let port = server.server.port();
    let url = format!("host={host} port={port} user=no_replication dbname=postgres");
    let error = identify(&ConnInfo::parse(&url).unwrap()).await.unwrap_err();
    assert!(
        matches!(&error, ReplicationError::Server { sqlstate, .. } if sqlstate == "42501"),
        "{error:?}"
    );
    assert!(!error.is_transient());
}

#[tokio::test]
async fn channel_binding_binds_scram_to_tls_and_nothing_else() {
    let server = secured().await;
    server
        .accepts("scram", "sslmode=require channel_binding=require")
        .await;
    server
        .accepts("scram", "sslmode=require channel_binding=disable")
        .await;
    for (user, mode) in [
        ("scram", "disable"),
        ("md5", "require"),
        ("cleartext", "require"),
        ("postgres", "require"),
    ] {
        let rest = format!("sslmode={mode} channel_binding=require");
        let error = server.refuses(user, &rest).await;
        assert!(
            matches!(error, ReplicationError::Auth { .. }),
            "{user}: {error:?}"
        );
    }
}

#[tokio::test]
async fn the_stream_runs_over_tls() {
    let server = secured().await;
    let admin = connect(&server.server.url("postgres")).await;
    let sql = "create table t (v text); alter table t replica identity full;
               create publication walhook for table t";
    admin.batch_execute(sql).await.unwrap();
    slot::create(&admin, "over_tls", false).await.unwrap();
    let conninfo = server.conninfo(
        "scram",
        &format!("sslmode=verify-full sslrootcert={}", server.ca.display()),
    );
    let config = SourceConfig {
        slot: "over_tls".to_owned(),
        ..SourceConfig::default()
    };
    let mut stream = start(&conninfo, &config).await.unwrap();
    let sql = "select s.ssl from pg_stat_ssl s join pg_replication_slots r on r.active_pid = s.pid
                where r.slot_name = 'over_tls'";
    assert!(admin.query_one(sql, &[]).await.unwrap().get::<_, bool>(0));
    // Rows of many TLS records, and records of many rows.
    let sql = "insert into t select repeat(n::text, n % 5000) from generate_series(1, 5000) n";
    admin.execute(sql, &[]).await.unwrap();
    let (mut rows, mut end) = (0, None);
    while end.is_none() {
        for event in stream.next_batch().await.unwrap() {
            match event {
                StreamEvent::Change(_) => rows += 1,
                StreamEvent::Commit { end_lsn, .. } => end = Some(end_lsn),
                _ => {}
            }
        }
    }
    assert_eq!(rows, 5000);
    stream.acknowledge(end.unwrap());
    stream.shutdown().await;
    let state = slot::inspect(&admin, "over_tls").await.unwrap().unwrap();
    assert_eq!(state.confirmed_flush_lsn, end);
}

#[tokio::test]
async fn failures_of_the_pool_side_keep_their_cause_and_no_password() {
    let server = secured().await;
    let conninfo = server.conninfo("scram", "sslmode=require password=hunter2");
    let error = conninfo
        .connect(Purpose::Application, None)
        .await
        .unwrap_err();
    assert!(matches!(error, ConnInfoError::Connect { .. }));
    let text = format!("{:#}", anyhow::Error::from(error));
    assert!(
        text.contains("authentication failed") && text.contains("scram@"),
        "{text}"
    );
    assert!(!text.contains("hunter2"));
    let conninfo = server.conninfo("scram", "password='' passfile=/absent");
    let error = conninfo.connect(Purpose::Application, None).await;
    let text = error.unwrap_err().to_string();
    assert!(text.contains("PGPASSWORD or ~/.pgpass"), "{text}");
}

/// A listener that is no PostgreSQL: says `answer` to whoever connects, and waits.
fn impostor(answer: &'static [u8]) -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let mut kept = Vec::new();
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.write_all(answer);
            kept.push(stream);
        }
    });
    port
}

#[tokio::test]
async fn what_is_no_postgres_is_said_to_be_none() {
    let to = |port, mode| {
        let text =
            format!("host=127.0.0.1 port={port} user=u dbname=d sslmode={mode} connect_timeout=1");
        ConnInfo::parse(&text).unwrap()
    };
    let http = impostor(b"HTTP/1.1 400 Bad Request\r\n\r\n");
    for mode in ["disable", "require"] {
        let error = identify(&to(http, mode)).await.unwrap_err();
        assert!(matches!(error, ReplicationError::Protocol(_)), "{error:?}");
        assert!(!error.is_transient());
    }
    let silent = impostor(b"");
    for mode in ["disable", "require"] {
        let error = identify(&to(silent, mode)).await.unwrap_err();
        assert!(error.is_transient(), "{error:?}");
        let error = to(silent, mode)
            .connect(Purpose::Application, None)
            .await
            .unwrap_err();
        assert!(matches!(error, ConnInfoError::NoAnswer { .. }), "{error:?}");
    }
}

/// What a server sends that lets a client in.
const LET_IN: &[u8] = b"R\0\0\0\x08\0\0\0\0S\0\0\0\x18server_version\x0015.0\0Z\0\0\0\x05I";

#[tokio::test]
async fn a_server_that_lets_us_in_and_falls_silent_is_given_up_in_time() {
    let port = impostor(LET_IN);
    let text =
        format!("host=127.0.0.1 port={port} user=u dbname=d sslmode=disable connect_timeout=1");
    let conninfo = ConnInfo::parse(&text).unwrap();
    // A statement of this purpose may take ten minutes.
    let connecting = conninfo.connect(Purpose::Seed, None);
    let connected = tokio::time::timeout(Duration::from_secs(20), connecting).await;
    let error = connected.expect("it waits no longer").unwrap_err();
    assert!(matches!(error, ConnInfoError::NoAnswer { .. }), "{error:?}");
}
