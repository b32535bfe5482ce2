//! Checks a server's certificate as far as the mode asks for.

use std::path::Path;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, OtherError, RootCertStore, SignatureScheme};
use x509_cert::Certificate;
use x509_cert::der::Decode;

use super::{TlsError, certificates};

#[derive(Debug)]
pub(super) enum Trust {
    Anything,
    Roots(Roots, Name),
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Name {
    Any,
    Checked,
}

#[derive(Debug)]
pub(super) struct Roots {
    anchors: RootCertStore,
    /// A self-signed server certificate that stands in the file itself. webpki
    /// refuses a CA as a server's own certificate, yet that is what the
    /// PostgreSQL manual's `openssl req -x509` makes, and what OpenSSL admits.
    exact: Vec<CertificateDer<'static>>,
}

impl Roots {
    pub(super) fn of_file(path: &Path) -> Result<Self, TlsError> {
        let exact = certificates(path, "the root certificates (sslrootcert)")?;
        let mut anchors = RootCertStore::empty();
        anchors.add_parsable_certificates(exact.iter().cloned());
        Ok(Roots { anchors, exact })
    }

    pub(super) fn of_system() -> Result<Self, TlsError> {
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
pub(super) struct Verifier {
    pub(super) trust: Trust,
    pub(super) algorithms: WebPkiSupportedAlgorithms,
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

#[cfg(test)]
mod tests {
    use rustls::crypto::aws_lc_rs;

    use super::*;
    use crate::conninfo::SslMode;
    use crate::conninfo::tls::{RootCertificates, TlsSettings};

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
