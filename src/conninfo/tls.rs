//! TLS to PostgreSQL as libpq's `sslmode` means it (manual, §34.19), by rustls.
//!
//! | mode | encrypted | certificate checked |
//! |---|---|---|
//! | disable | no | |
//! | allow, prefer | if the server can | no |
//! | require | yes | its chain, if there are root certificates for PostgreSQL |
//! | verify-ca | yes | its chain |
//! | verify-full | yes | its chain and the host name |

use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use sha2::{Digest, Sha256, Sha384, Sha512};
use x509_cert::Certificate;
use x509_cert::der::Decode;

mod verifier;

use verifier::{Name, Roots, Trust, Verifier};

/// What `tokio_postgres` and the pool connect with.
pub type MakeTls = tokio_postgres_rustls::MakeRustlsConnect;

/// libpq's `sslmode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SslMode {
    Disable,
    Allow,
    Prefer,
    Require,
    VerifyCa,
    VerifyFull,
}

impl SslMode {
    pub(super) fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "disable" => SslMode::Disable,
            "allow" => SslMode::Allow,
            "prefer" => SslMode::Prefer,
            "require" => SslMode::Require,
            "verify-ca" => SslMode::VerifyCa,
            "verify-full" => SslMode::VerifyFull,
            _ => return None,
        })
    }
}

/// Where the certificates are that a server's is checked against.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RootCertificates {
    File(PathBuf),
    /// The machine's own (`sslrootcert=system`).
    System,
}

/// The `ssl…` parameters. Files are read again for each connection, so that a
/// renewed certificate needs no restart.
#[derive(Clone, Debug)]
pub(super) struct TlsSettings {
    pub(super) mode: SslMode,
    pub(super) root: Option<RootCertificates>,
    pub(super) certificate: Option<PathBuf>,
    pub(super) key: Option<PathBuf>,
    /// TLS without asking first (`sslnegotiation=direct`, PostgreSQL 17).
    pub(super) direct: bool,
    /// `~/.postgresql`, where libpq looks for what the parameters do not name.
    pub(super) home: Option<PathBuf>,
}

#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("cannot read {what} `{}`: check the path and its rights", path.display())]
    Read {
        what: &'static str,
        path: PathBuf,
        #[source]
        source: pem::Error,
    },
    #[error("`{}` holds no certificate: expected PEM", .0.display())]
    NoCertificate(PathBuf),
    #[error(
        "no root certificate to check the server's against: set sslrootcert to a PEM file of the server's CA, or to `system` with sslmode=verify-full"
    )]
    NoRoots,
    #[error(
        "this machine has no CA certificates to check the server's against: install `ca-certificates`, or set sslrootcert to a PEM file of the server's CA"
    )]
    NoSystemRoots,
    #[error(
        "sslrootcert=system needs sslmode=verify-full: any public CA signs for anybody, so that only the host name tells servers apart"
    )]
    WeakSystem,
    #[error("sslcert and sslkey belong together: only one of them is given")]
    HalfPair,
    #[error("others may read the private key `{}`: run `chmod 0600` on it", .0.display())]
    KeyPermissions(PathBuf),
    #[error("the client's certificate and key were refused: check that they are a pair")]
    Pair(#[source] rustls::Error),
    #[error("TLS cannot be configured")]
    Config(#[source] rustls::Error),
}

impl TlsSettings {
    /// What rustls connects with under this mode.
    pub(super) fn client_config(&self) -> Result<ClientConfig, TlsError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let verifier = Verifier {
            trust: self.trust()?,
            algorithms: provider.signature_verification_algorithms,
        };
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(TlsError::Config)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier));
        let mut config = match self.client_pair()? {
            Some((chain, key)) => builder
                .with_client_auth_cert(chain, key)
                .map_err(TlsError::Pair)?,
            None => builder.with_no_client_auth(),
        };
        if self.direct {
            config.alpn_protocols = vec![b"postgresql".to_vec()];
        }
        Ok(config)
    }

    fn trust(&self) -> Result<Trust, TlsError> {
        if self.root == Some(RootCertificates::System) && self.mode != SslMode::VerifyFull {
            return Err(TlsError::WeakSystem);
        }
        let root = self
            .root
            .clone()
            .or_else(|| self.beside_home("root.crt").map(RootCertificates::File));
        match (self.mode, root) {
            (SslMode::Disable | SslMode::Allow | SslMode::Prefer, _) | (SslMode::Require, None) => {
                Ok(Trust::Anything)
            }
            (SslMode::Require | SslMode::VerifyCa, Some(RootCertificates::File(path))) => {
                Ok(Trust::Roots(Roots::of_file(&path)?, Name::Any))
            }
            (SslMode::VerifyFull, Some(RootCertificates::File(path))) => {
                Ok(Trust::Roots(Roots::of_file(&path)?, Name::Checked))
            }
            // libpq wants `system` said; with the name checked it is as safe unsaid.
            (SslMode::VerifyFull, Some(RootCertificates::System) | None) => {
                Ok(Trust::Roots(Roots::of_system()?, Name::Checked))
            }
            (SslMode::Require | SslMode::VerifyCa, Some(RootCertificates::System))
            | (SslMode::VerifyCa, None) => Err(TlsError::NoRoots),
        }
    }

    fn client_pair(&self) -> Result<Option<ClientPair>, TlsError> {
        let (certificate, key) = match (&self.certificate, &self.key) {
            (Some(certificate), Some(key)) => (certificate.clone(), key.clone()),
            (None, None) => match (
                self.beside_home("postgresql.crt"),
                self.beside_home("postgresql.key"),
            ) {
                (Some(certificate), Some(key)) => (certificate, key),
                _ => return Ok(None),
            },
            _ => return Err(TlsError::HalfPair),
        };
        let chain = certificates(&certificate, "the client's certificate (sslcert)")?;
        check_key_permissions(&key)?;
        let key = PrivateKeyDer::from_pem_file(&key).map_err(|source| TlsError::Read {
            what: "the client's private key (sslkey), in PEM and without a passphrase,",
            path: key,
            source,
        })?;
        Ok(Some((chain, key)))
    }

    fn beside_home(&self, name: &str) -> Option<PathBuf> {
        let path = self.home.as_ref()?.join(name);
        path.exists().then_some(path)
    }
}

type ClientPair = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

/// libpq's rule: 0600, or 0640 where root owns it.
fn check_key_permissions(path: &Path) -> Result<(), TlsError> {
    let metadata = std::fs::metadata(path).map_err(|source| TlsError::Read {
        what: "the client's private key (sslkey)",
        path: path.to_owned(),
        source: pem::Error::Io(source),
    })?;
    let forbidden = if metadata.uid() == 0 { 0o027 } else { 0o077 };
    if metadata.permissions().mode() & forbidden != 0 {
        return Err(TlsError::KeyPermissions(path.to_owned()));
    }
    Ok(())
}

fn certificates(path: &Path, what: &'static str) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let read = |source| TlsError::Read {
        what,
        path: path.to_owned(),
        source,
    };
    let found = CertificateDer::pem_file_iter(path)
        .map_err(read)?
        .collect::<Result<Vec<_>, _>>()
        .map_err(read)?;
    if found.is_empty() {
        return Err(TlsError::NoCertificate(path.to_owned()));
    }
    Ok(found)
}

/// The `tls-server-end-point` channel binding (RFC 5929 §4.1): the certificate
/// hashed as its own signature was, MD5 and SHA-1 replaced by SHA-256. `None`
/// for signatures without one hash (Ed25519, PSS): PostgreSQL cannot bind them.
pub fn server_end_point(certificate: &CertificateDer<'_>) -> Option<Vec<u8>> {
    let oid = Certificate::from_der(certificate)
        .ok()?
        .signature_algorithm
        .oid
        .to_string();
    Some(match oid.as_str() {
        // md5, sha1, sha256 with RSA; SHA-1, SHA-256 with ECDSA
        "1.2.840.113549.1.1.4"
        | "1.2.840.113549.1.1.5"
        | "1.2.840.113549.1.1.11"
        | "1.2.840.10045.4.1"
        | "1.2.840.10045.4.3.2" => Sha256::digest(certificate).to_vec(),
        "1.2.840.113549.1.1.12" | "1.2.840.10045.4.3.3" => Sha384::digest(certificate).to_vec(),
        "1.2.840.113549.1.1.13" | "1.2.840.10045.4.3.4" => Sha512::digest(certificate).to_vec(),
        _ => return None,
    })
}

/// Whether a failed connection failed in TLS, where `prefer` goes on without it.
pub(super) fn is_tls_failure(error: &(dyn std::error::Error + 'static)) -> bool {
    std::iter::successors(Some(error), |error| error.source()).any(|error| {
        error.is::<rustls::Error>()
            || error
                .downcast_ref::<io::Error>()
                .and_then(io::Error::get_ref)
                .is_some_and(|inner| inner.is::<rustls::Error>())
    })
}
