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

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{
    WebPkiSupportedAlgorithms, aws_lc_rs, verify_tls12_signature, verify_tls13_signature,
};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, OtherError, RootCertStore,
    SignatureScheme,
};
use sha2::{Digest, Sha256, Sha384, Sha512};
use x509_cert::Certificate;
use x509_cert::der::Decode;

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

/// The `ssl…` parameters. Files are read anew for each connection, so that a
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

#[derive(Debug)]
enum Trust {
    Anything,
    Roots(Roots, Name),
}

#[derive(Debug, PartialEq, Eq)]
enum Name {
    Any,
    Checked,
}

#[derive(Debug)]
struct Roots {
    anchors: RootCertStore,
    /// A self-signed server certificate that stands in the file itself. webpki
    /// refuses a CA as a server's own certificate, yet that is what the
    /// PostgreSQL manual's `openssl req -x509` makes, and what OpenSSL admits.
    exact: Vec<CertificateDer<'static>>,
}

impl Roots {
    fn of_file(path: &Path) -> Result<Self, TlsError> {
        let exact = certificates(path, "the root certificates (sslrootcert)")?;
        let mut anchors = RootCertStore::empty();
        anchors.add_parsable_certificates(exact.iter().cloned());
        Ok(Roots { anchors, exact })
    }

    fn of_system() -> Result<Self, TlsError> {
        let mut anchors = RootCertStore::empty();
        anchors.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if anchors.is_empty() {
            return Err(TlsError::NoSystemRoots);
        }
        Ok(Roots {
            anchors,
            exact: Vec::new(),
        })
    }
}

/// Checks what the mode asks for. The handshake's signature is checked under
/// every mode: channel binding rests on it.
#[derive(Debug)]
struct Verifier {
    trust: Trust,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let Trust::Roots(roots, name) = &self.trust else {
            return Ok(ServerCertVerified::assertion());
        };
        let parsed = ParsedCertificate::try_from(end_entity)?;
        if roots.exact.iter().any(|root| root == end_entity) {
            check_validity(end_entity, now)?;
        } else {
            verify_server_cert_signed_by_trust_anchor(
                &parsed,
                &roots.anchors,
                intermediates,
                now,
                self.algorithms.all,
            )?;
        }
        if *name == Name::Checked {
            verify_server_name(&parsed, server_name).map_err(explain_name)?;
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

fn check_validity(certificate: &CertificateDer<'_>, now: UnixTime) -> Result<(), rustls::Error> {
    let parsed = Certificate::from_der(certificate).map_err(|_| CertificateError::BadEncoding)?;
    let validity = parsed.tbs_certificate.validity;
    let now = now.as_secs();
    if now < validity.not_before.to_unix_duration().as_secs() {
        return Err(CertificateError::NotValidYet.into());
    }
    if now > validity.not_after.to_unix_duration().as_secs() {
        return Err(CertificateError::Expired.into());
    }
    Ok(())
}

#[derive(Debug, thiserror::Error)]
#[error(
    "the server's certificate names no host (it has no subjectAltName; a CN alone does not count): issue it with one, or use sslmode=verify-ca"
)]
struct NoSubjectAltName;

fn explain_name(error: rustls::Error) -> rustls::Error {
    match error {
        rustls::Error::InvalidCertificate(CertificateError::NotValidForNameContext {
            presented,
            ..
        }) if presented.is_empty() => {
            CertificateError::Other(OtherError(Arc::new(NoSubjectAltName))).into()
        }
        other => other,
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn verifier(roots: &Path, mode: SslMode) -> Verifier {
        let settings = TlsSettings {
            mode,
            root: Some(RootCertificates::File(roots.to_owned())),
            certificate: None,
            key: None,
            direct: false,
            home: None,
        };
        Verifier {
            trust: settings.trust().unwrap(),
            algorithms: aws_lc_rs::default_provider().signature_verification_algorithms,
        }
    }

    /// What `openssl req -x509` makes: a CA of its own.
    fn self_signed(names: &[&str]) -> rcgen::Certificate {
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = rcgen::CertificateParams::new(names).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let key = rcgen::KeyPair::generate().unwrap();
        params.self_signed(&key).unwrap()
    }

    #[test]
    fn a_self_signed_certificate_is_its_own_root() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("root.crt");
        let certificate = self_signed(&["db.example"]);
        std::fs::write(&root, certificate.pem()).unwrap();
        let name = |name: &str| ServerName::try_from(name.to_owned()).unwrap();
        let check = |mode, certificate: &rcgen::Certificate, host, at: UnixTime| {
            let verifier = verifier(&root, mode);
            verifier.verify_server_cert(certificate.der(), &[], &name(host), &[], at)
        };
        let now = UnixTime::now();
        let full = SslMode::VerifyFull;
        assert!(check(full, &certificate, "db.example", now).is_ok());
        assert!(check(full, &certificate, "other.example", now).is_err());
        assert!(check(SslMode::VerifyCa, &certificate, "other.example", now).is_ok());
        let stranger = self_signed(&["db.example"]);
        assert!(check(full, &stranger, "db.example", now).is_err());
        // rcgen's default validity ends in the year 4096.
        let late = UnixTime::since_unix_epoch(std::time::Duration::from_secs(80_000_000_000));
        assert!(check(full, &certificate, "db.example", late).is_err());
        assert!(
            check(
                full,
                &certificate,
                "db.example",
                UnixTime::since_unix_epoch(std::time::Duration::ZERO)
            )
            .is_err()
        );
    }

    #[test]
    fn a_certificate_without_names_is_explained() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("root.crt");
        let certificate = self_signed(&[]);
        std::fs::write(&root, certificate.pem()).unwrap();
        let host = ServerName::try_from("db.example").unwrap();
        let error = verifier(&root, SslMode::VerifyFull)
            .verify_server_cert(certificate.der(), &[], &host, &[], UnixTime::now())
            .unwrap_err();
        assert!(
            error.to_string().contains("subjectAltName")
                || format!("{error:?}").contains("NoSubjectAltName"),
            "{error}"
        );
    }
}
