//! Clients of TLS: whom they trust, and that everything else is as without.

use super::*;
use crate::{
    message::{self, Message, To},
    plan::Tls,
    worker::{
        command::Cut,
        tally::{Ending, Failure},
    },
};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd};
use rustls::{
    RootCertStore, ServerConfig, ServerConnection, StreamOwned, SupportedProtocolVersion,
    crypto::aws_lc_rs::default_provider,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer},
    server::WebPkiClientVerifier,
    version::{TLS12, TLS13},
};
use std::sync::Arc;

type Stream = StreamOwned<ServerConnection, TcpStream>;

/// Who signs certificates.
fn authority(name: &str) -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

fn pem(certificate: &CertificateDer<'_>) -> Vec<u8> {
    let text = STANDARD.encode(certificate);
    format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n").into_bytes()
}

/// A server's settings, with a certificate for a name that was valid in these years.
fn config(
    authority: &CertifiedIssuer<'static, KeyPair>,
    name: &str,
    until: i32,
    version: &'static SupportedProtocolVersion,
    asks_back: bool,
) -> Arc<ServerConfig> {
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    (params.not_before, params.not_after) = (date_time_ymd(2000, 1, 1), date_time_ymd(until, 1, 1));
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, authority).unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let provider = Arc::new(default_provider());
    let builder =
        ServerConfig::builder_with_provider(provider.clone()).with_protocol_versions(&[version]).unwrap();
    let builder = if asks_back {
        let mut roots = RootCertStore::empty();
        roots.add(authority.der().clone()).unwrap();
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
        builder.with_client_cert_verifier(verifier)
    } else {
        builder.with_no_client_auth()
    };
    Arc::new(builder.with_single_cert(vec![certificate.der().clone()], key).unwrap())
}

fn secured(config: Arc<ServerConfig>, serve: impl Fn(Stream, usize) + Clone + Send + 'static) -> SocketAddr {
    server(move |stream, number| {
        serve(StreamOwned::new(ServerConnection::new(config.clone()).unwrap(), stream), number);
    })
}

fn trust(authority: &CertifiedIssuer<'static, KeyPair>, name: Option<&str>) -> Option<Tls> {
    Some(Tls { name: name.map(str::to_owned), roots_pem: Some(pem(authority.der())), verify: true })
}

#[test]
fn encrypted_clients_hear_and_are_heard() {
    let authority = authority("known");
    let run = Run::begin();
    let mut body = Vec::new();
    message::write(&mut body, run.id, &Message { to: To::All, sequence: 1, meant_us: 0 }, 100_000);
    for version in [&TLS12, &TLS13] {
        for protocol in Protocol::ALL {
            let sent = body.clone();
            let config = config(&authority, "push.test", 2_100, version, false);
            let target = secured(config, move |mut stream, number| {
                let asked = request(&mut stream);
                assert!(asked.contains("\r\nHost: push.test:"), "{asked}");
                stream.write_all(opening(&asked).as_bytes()).unwrap();
                let is_stream = asked.contains("event-stream");
                let message = if is_stream {
                    let lines = String::from_utf8(sent.clone()).unwrap().replace('\n', "\r\ndata: ");
                    chunk(&format!("event: push\r\ndata: {lines}\r\n\r\n")).into_bytes()
                } else {
                    text(&sent)
                };
                stream.write_all(&message).unwrap();
                if !is_stream {
                    stream.write_all(&[0x89, 1, b'?']).unwrap();
                    let mut pong = [0; 7];
                    stream.read_exact(&mut pong).unwrap();
                    assert_eq!((pong[0], pong[1], pong[6] ^ pong[2]), (0x8a, 0x81, b'?'));
                }
                if number % 2 == 0 {
                    let goaway = chunk("event: goaway\r\ndata: _CLOSE_\r\n\r\n");
                    let goaway = if is_stream { goaway.into_bytes() } else { text(b"_CLOSE_") };
                    stream.write_all(&goaway).unwrap();
                }
                hang_up(&mut stream, !is_stream);
                stream.conn.send_close_notify();
                let _ = stream.flush();
            });
            let mut settings = settings(target, protocol);
            settings.tls = trust(&authority, Some("push.test"));
            let mut fleet = Fleet::start(settings, run).unwrap();
            let manner = Manner::Stay;
            fleet.open(Wave { first: 0, count: 1, rate: 1e9, manner, dwell: Duration::ZERO });
            let tally = wait(&mut fleet, |tally| tally.broadcast == 2);
            assert_eq!(
                (tally.goaways, tally.reconnected, tally.ended_by(Ending::Left)),
                (1, 1, 1),
                "{tally:?}"
            );
            fleet.leave(Duration::ZERO);
            let tally = wait(&mut fleet, |tally| tally.ended() == 2);
            assert_eq!(tally.ended_by(Ending::Left), 2, "{tally:?}");
            assert_eq!(tally.faults, 0, "{:?}", tally.fault_words);
        }
    }
}

#[test]
fn who_is_not_who_it_must_be_is_not_spoken_to() {
    let (known, other) = (authority("known"), authority("other"));
    let local = |until| config(&known, "127.0.0.1", until, &TLS13, false);
    let named = config(&known, "push.test", 2_100, &TLS13, false);
    let unverified = |name: &str| Some(Tls { name: Some(name.into()), roots_pem: None, verify: false });
    let good = None;
    let bad = Some(Failure::Certificate);
    let table = [
        (local(2_100), trust(&known, None), good, ""),
        (local(2_100), trust(&known, Some("127.0.0.1")), good, ""),
        (local(2_100), trust(&other, None), bad, "signed by nobody that is trusted"),
        (local(2_100), trust(&known, Some("push.test")), bad, "push.test"),
        (local(2_001), trust(&known, None), bad, "expired"),
        (named.clone(), trust(&known, None), bad, "127.0.0.1"),
        (named.clone(), unverified("else.test"), good, ""),
        (config(&known, "127.0.0.1", 2_001, &TLS12, false), unverified("else.test"), good, ""),
        (
            config(&known, "127.0.0.1", 2_100, &TLS13, true),
            trust(&known, None),
            Some(Failure::NoAgreement),
            "alert",
        ),
        (
            config(&known, "127.0.0.1", 2_100, &TLS12, true),
            trust(&known, None),
            Some(Failure::NoAgreement),
            "alert",
        ),
    ];
    for (config, tls, failure, words) in table {
        let target = secured(config, |mut stream, _| {
            let asked = request(&mut stream);
            if !asked.is_empty() && stream.write_all(opening(&asked).as_bytes()).is_ok() {
                hang_up(&mut stream, true);
            }
        });
        let mut settings = settings(target, Protocol::WebSocket);
        settings.tls = tls;
        let mut fleet = crowd(settings, 3);
        let tally = wait(&mut fleet, |tally| tally.open.sum() + tally.not_opened() == 3);
        assert_eq!(
            tally.failed,
            failure.map(|failure| (failure, 3)).into_iter().collect(),
            "{:?}",
            tally.fault_words
        );
        assert_eq!(tally.faults, tally.not_opened());
        assert!(
            tally.fault_words.iter().all(|told| told.contains(words)),
            "{words}: {:?}",
            tally.fault_words
        );
    }
}

#[test]
fn encrypted_clients_are_cut_and_come_back() {
    let authority = authority("known");
    let config = config(&authority, "127.0.0.1", 2_100, &TLS13, false);
    let target = secured(config, |mut stream, _| {
        open(&mut stream);
        hang_up(&mut stream, true);
    });
    let mut settings = settings(target, Protocol::WebSocket);
    settings.tls = trust(&authority, None);
    let mut fleet = crowd(settings, 4);
    for (turn, how) in [Cut::Reset, Cut::Fin, Cut::Close].into_iter().enumerate() {
        wait(&mut fleet, |tally| tally.open.sum() == 4 && tally.reconnected == 4 * turn as u64);
        fleet.cut(1.0, how);
    }
    wait(&mut fleet, |tally| tally.open.sum() == 4 && tally.reconnected == 12);
    fleet.cut(0.5, Cut::Vanish);
    fleet.bury();
    let tally = wait(&mut fleet, |tally| tally.buried == 2);
    assert_eq!((tally.open.sum(), tally.ended(), tally.faults), (2, 14, 0), "{tally:?}");
}

#[test]
fn what_cannot_be_trusted_is_said_before_anybody_connects() {
    let fault = |tls: Tls| {
        let mut settings = Settings::new("127.0.0.1:1".parse().unwrap());
        settings.tls = Some(tls);
        let Err(error) = Fleet::start(settings, Run::begin()) else { panic!("it starts") };
        error.to_string()
    };
    let roots = |pem: &[u8]| Tls { name: None, roots_pem: Some(pem.to_vec()), verify: true };
    assert!(fault(roots(b"")).contains("PEM"));
    assert!(fault(roots(&pem(&CertificateDer::from(vec![1, 2, 3])))).contains("cannot be read"));
    let words = fault(Tls { name: Some("a b".into()), roots_pem: None, verify: false });
    assert!(words.contains("\"a b\" is no name"), "{words}");
}
