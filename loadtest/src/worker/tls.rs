//! TLS, a client's side, by rustls: whom to trust, a session for each connection, and what is wrong when there is none.
//!
//! Never does I/O. No session is resumed: each connection costs a whole handshake, as that of a new client does.

use super::tally::Failure;
use crate::plan::Tls;
use rustls::{
    CertificateError, ClientConfig, ClientConnection, DigitallySignedStruct, Error, RootCertStore,
    SignatureScheme,
    client::{
        Resumption,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject},
};
use std::{io::Read, net::IpAddr, sync::Arc};

/// The state of one connection, on the heap: plain connections have none.
pub type Session = Box<ClientConnection>;

/// What all sessions have in common.
pub struct Encryption {
    config: Arc<ClientConfig>,
    /// What the certificate must be valid for; None: the target's address.
    name: Option<ServerName<'static>>,
}

impl Encryption {
    /// Reads the certificates of those who are trusted.
    ///
    /// # Errors
    /// When there are none, or the name is none.
    pub fn new(tls: &Tls) -> Result<Self, String> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(|error| format!("TLS cannot be used: {error}"))?;
        let mut config = match tls.verify {
            true => builder.with_root_certificates(roots(tls)?).with_no_client_auth(),
            false => {
                let trusting = Arc::new(Trusting(provider));
                builder.dangerous().with_custom_certificate_verifier(trusting).with_no_client_auth()
            }
        };
        config.resumption = Resumption::disabled();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let name = tls.name.clone().map(|name| {
            let wrong = |_| format!("{name:?} is no name that a certificate can be valid for");
            ServerName::try_from(name.clone()).map_err(wrong)
        });
        Ok(Self { config: Arc::new(config), name: name.transpose()? })
    }

    /// A session that has its first words to say.
    ///
    /// # Errors
    /// When there is no randomness.
    pub fn begin(&self, target: IpAddr) -> Result<Session, Broken> {
        let name = self.name.clone().unwrap_or_else(|| ServerName::IpAddress(target.into()));
        ClientConnection::new(self.config.clone(), name).map(Box::new).map_err(Broken)
    }
}

fn roots(tls: &Tls) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    let Some(pem) = &tls.roots_pem else {
        let found = rustls_native_certs::load_native_certs();
        if roots.add_parsable_certificates(found.certs).0 == 0 {
            return Err("this machine has no certificates of those whom it trusts: install them (ca-certificates), or \
                        name a file with the certificate that signed the server's"
                .into());
        }
        return Ok(roots);
    };
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let added = certificate
            .map_err(|error| error.to_string())
            .and_then(|certificate| roots.add(certificate).map_err(|error| error.to_string()));
        added.map_err(|error| format!("a certificate of those to trust cannot be read: {error}"))?;
    }
    if roots.is_empty() {
        return Err("there is no certificate among those to trust: a PEM file is expected".into());
    }
    Ok(roots)
}

/// Takes what a session can of `sealed`, and leaves in `plain` what it means.
///
/// # Errors
/// When the other side does not keep to TLS, or is not who it must be.
pub fn open(session: &mut Session, sealed: &mut &[u8], plain: &mut Vec<u8>) -> Result<(), Broken> {
    plain.clear();
    let before = sealed.len();
    let taken = session.read_tls(sealed);
    let state = session.process_new_packets().map_err(Broken)?;
    if taken.is_err() || sealed.len() == before {
        return Err(Broken(Error::General("it has no room for more".into())));
    }
    plain.resize(state.plaintext_bytes_to_read(), 0);
    session.reader().read_exact(plain).map_err(|error| Broken(Error::General(error.to_string())))
}

/// Why there is no session, or no more.
#[derive(Debug)]
pub struct Broken(Error);

impl Broken {
    pub fn failure(&self) -> Failure {
        match &self.0 {
            Error::InvalidCertificate(_) | Error::NoCertificatesPresented => Failure::Certificate,
            Error::AlertReceived(_) | Error::PeerIncompatible(_) => Failure::NoAgreement,
            _ => Failure::NotTls,
        }
    }

    pub fn words(&self) -> String {
        match &self.0 {
            Error::InvalidCertificate(CertificateError::UnknownIssuer) => {
                "the certificate is signed by nobody that is trusted".into()
            }
            other => other.to_string(),
        }
    }
}

/// Takes any certificate, whose key must be the server's all the same.
#[derive(Debug)]
struct Trusting(Arc<CryptoProvider>);

impl ServerCertVerifier for Trusting {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let known = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signed, known)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let known = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signed, known)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
