//! What libpq makes of parameters that are absent or depend on one another.

use std::path::{Path, PathBuf};

use super::ConnInfoError;
use super::endpoint::{Endpoint, SOCKET_DIRECTORIES};
use super::pgpass::{self, Login};
use super::settings::Settings;
use super::tls::{RootCertificates, SslMode, TlsSettings};

/// The password file's answer. One connection string has one password, so hosts
/// with different ones are refused rather than shown each other's.
pub(super) fn filed_password(
    settings: &Settings,
    home: Option<&Path>,
    endpoints: &[Endpoint],
    dbname: &str,
    user: &str,
) -> Result<Option<String>, ConnInfoError> {
    let file = settings.get("passfile").map(PathBuf::from);
    let Some(file) = file.or_else(|| home.map(|home| home.join(".pgpass"))) else {
        return Ok(None);
    };
    let mut passwords = endpoints.iter().map(|endpoint| {
        let local = SOCKET_DIRECTORIES.contains(&endpoint.host.as_str());
        let login = Login {
            host: if local { "localhost" } else { &endpoint.host },
            port: endpoint.port,
            dbname,
            user,
        };
        pgpass::password(&file, login)
    });
    let first = passwords.next().flatten();
    if passwords.any(|other| other != first) {
        return Err(ConnInfoError::Invalid {
            name: "passfile",
            expected: "the same password for every host; give it as PGPASSWORD otherwise",
        });
    }
    Ok(first)
}

pub(super) fn tls_settings(
    settings: &Settings,
    home: Option<&Path>,
) -> Result<TlsSettings, ConnInfoError> {
    let root = settings.get("sslrootcert").map(|root| match root {
        "system" => RootCertificates::System,
        path => RootCertificates::File(PathBuf::from(path)),
    });
    let default = match root {
        Some(RootCertificates::System) => SslMode::VerifyFull,
        Some(RootCertificates::File(_)) | None => SslMode::Prefer,
    };
    let mode = settings
        .parsed(
            "sslmode",
            "`disable`, `allow`, `prefer`, `require`, `verify-ca` or `verify-full`",
            SslMode::parse,
        )?
        .unwrap_or(default);
    let direct = settings
        .parsed("sslnegotiation", "`postgres` or `direct`", |text| {
            ["postgres", "direct"]
                .contains(&text)
                .then_some(text == "direct")
        })?
        .unwrap_or(false);
    if direct && mode < SslMode::Require {
        return Err(ConnInfoError::Invalid {
            name: "sslnegotiation",
            expected: "`direct` only with sslmode=require or stronger",
        });
    }
    Ok(TlsSettings {
        mode,
        root,
        certificate: settings.get("sslcert").map(PathBuf::from),
        key: settings.get("sslkey").map(PathBuf::from),
        direct,
        home: home.map(|home| home.join(".postgresql")),
    })
}

/// Parameters that have one sensible value here: refused where they ask for another.
pub(super) fn check_ignored(settings: &Settings) -> Result<(), ConnInfoError> {
    settings.parsed(
        "client_encoding",
        "`UTF8`: walhook reads nothing else",
        |text| {
            ["utf8", "utf-8", "auto", "unicode"]
                .contains(&text.to_ascii_lowercase().as_str())
                .then_some(())
        },
    )?;
    settings.parsed(
        "gssencmode",
        "`disable` or `prefer`: GSSAPI is not supported",
        |text| ["disable", "prefer"].contains(&text).then_some(()),
    )?;
    settings.parsed(
        "sslcompression",
        "0: TLS compression is not supported",
        |text| (text == "0").then_some(()),
    )?;
    Ok(())
}
