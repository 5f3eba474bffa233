//! TLS, a client's side, by rustls: whom to trust, a session for each connection, and what is wrong when there is none.
//!
//! Does no I/O of its own. No session is resumed: each connection costs a whole handshake, as that of a new client does.

use super::tally::Failure;
use crate::plan::Tls;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    client::{
        Resumption, UnbufferedClientConnection,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject},
    unbuffered::{ConnectionState, EncodeError, EncryptError, UnbufferedStatus},
};
use std::{
    io::{ErrorKind, Write},
    net::IpAddr,
    sync::Arc,
};

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
    pub fn begin(&self, target: IpAddr) -> Result<Box<Session>, Broken> {
        let name = self.name.clone().unwrap_or_else(|| ServerName::IpAddress(target.into()));
        let state = UnbufferedClientConnection::new(self.config.clone(), name).map_err(Broken)?;
        let mut session = Box::new(Session { state, incoming: Vec::new(), outgoing: Vec::new() });
        session.open(&[], &mut Vec::new())?;
        Ok(session)
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

/// One connection's, on the heap: plain connections have none. It has no buffers while nothing is half done.
pub struct Session {
    state: UnbufferedClientConnection,
    /// The beginning of a record.
    incoming: Vec<u8>,
    /// What was not sent yet.
    outgoing: Vec<u8>,
}

/// What is to be said once everything before is.
enum Say<'a> {
    Nothing,
    This(&'a [u8]),
    Goodbye,
}

impl Session {
    /// Whether both sides have agreed on keys.
    pub fn is_secure(&self) -> bool {
        !self.state.is_handshaking()
    }

    /// Takes what came, and appends to `plain` what it means.
    ///
    /// # Errors
    /// When the other side does not keep to TLS, or is not who it must be.
    pub fn open(&mut self, sealed: &[u8], plain: &mut Vec<u8>) -> Result<(), Broken> {
        let mut incoming = std::mem::take(&mut self.incoming);
        incoming.extend_from_slice(sealed);
        let (used, opened) = self.advance(&mut incoming, plain, &Say::Nothing);
        if used < incoming.len() {
            incoming.drain(..used);
            self.incoming = incoming;
        }
        opened
    }

    /// Encrypts what is to be sent. After the other side's last word it is dropped.
    pub fn seal(&mut self, plain: &[u8]) {
        // What is wrong with the session is found out by reading.
        let _ = self.advance(&mut [], &mut Vec::new(), &Say::This(plain));
    }

    /// Says that nothing more will be sent.
    pub fn end(&mut self) {
        let _ = self.advance(&mut [], &mut Vec::new(), &Say::Goodbye);
    }

    /// Sends what is to be sent, as far as there is room for it.
    pub fn send(&mut self, to: &mut impl Write) {
        let mut sent = 0;
        while sent < self.outgoing.len() {
            match to.write(&self.outgoing[sent..]) {
                Ok(count) => sent += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // There is no room; or the server has gone, which is noticed by reading.
                Err(_) => break,
            }
        }
        self.outgoing.drain(..sent);
        if self.outgoing.is_empty() {
            self.outgoing = Vec::new();
        }
    }

    /// Goes on until nothing is left to do; says how many bytes of `incoming` were used.
    fn advance(
        &mut self,
        incoming: &mut [u8],
        plain: &mut Vec<u8>,
        say: &Say<'_>,
    ) -> (usize, Result<(), Broken>) {
        let (mut used, out) = (0, &mut self.outgoing);
        loop {
            let UnbufferedStatus { discard, state } = self.state.process_tls_records(&mut incoming[used..]);
            used += discard;
            match state {
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    while let Some(record) = traffic.next_record() {
                        match record {
                            Ok(record) => {
                                used += record.discard;
                                plain.extend_from_slice(record.payload);
                            }
                            Err(error) => return (used, Err(Broken(error))),
                        }
                    }
                }
                Ok(ConnectionState::EncodeTlsData(mut data)) => {
                    append(out, |room| encoded(data.encode(room)))
                }
                Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
                Ok(ConnectionState::WriteTraffic(mut traffic)) => {
                    match say {
                        Say::Nothing => {}
                        Say::This(text) => append(out, |room| encrypted(traffic.encrypt(text, room))),
                        Say::Goodbye => append(out, |room| encrypted(traffic.queue_close_notify(room))),
                    }
                    return (used, Ok(()));
                }
                Ok(_) => return (used, Ok(())),
                Err(error) => {
                    // Why it will not go on is for the other side, too.
                    let last = self.state.process_tls_records(&mut []);
                    if let Ok(ConnectionState::EncodeTlsData(mut data)) = last.state {
                        append(out, |room| encoded(data.encode(room)));
                    }
                    return (used, Err(Broken(error)));
                }
            }
        }
    }
}

/// Appends what `write` writes once it has room enough; it says how much it needs, or that it will not.
fn append(out: &mut Vec<u8>, mut write: impl FnMut(&mut [u8]) -> Result<usize, Option<usize>>) {
    let (begin, mut room) = (out.len(), 0);
    loop {
        out.resize(begin + room, 0);
        match write(&mut out[begin..]) {
            Ok(count) => return out.truncate(begin + count),
            Err(Some(needed)) if needed > room => room = needed,
            Err(_) => return out.truncate(begin),
        }
    }
}

fn encoded(written: Result<usize, EncodeError>) -> Result<usize, Option<usize>> {
    written.map_err(|error| match error {
        EncodeError::InsufficientSize(short) => Some(short.required_size),
        EncodeError::AlreadyEncoded => None,
    })
}

fn encrypted(written: Result<usize, EncryptError>) -> Result<usize, Option<usize>> {
    written.map_err(|error| match error {
        EncryptError::InsufficientSize(short) => Some(short.required_size),
        EncryptError::EncryptExhausted => None,
    })
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
