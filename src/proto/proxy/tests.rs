use ppp::v2;
use proptest::prelude::*;

use super::*;

fn v1(text: &str) -> Result<Option<(Proxied, usize)>, ProxyError> {
    parse_proxy(text.as_bytes())
}

fn address(text: &str) -> Proxied {
    Proxied::Address(text.parse().unwrap())
}

#[test]
fn version_1_is_read() {
    let cases = [
        ("PROXY TCP4 192.0.2.1 192.0.2.2 56324 443\r\n", address("192.0.2.1:56324")),
        ("PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n", address("255.255.255.255:65535")),
        ("PROXY TCP6 2001:db8::1 ::1 0 443\r\n", address("[2001:db8::1]:0")),
        ("PROXY UNKNOWN\r\n", Proxied::Keep),
        ("PROXY UNKNOWN ffff:f...f:ffff any thing 65535\r\n", Proxied::Keep),
    ];
    for (text, expected) in cases {
        let longer = format!("{text}GET / HTTP/1.1\r\n");
        assert_eq!(v1(text), Ok(Some((expected, text.len()))), "{text}");
        assert_eq!(v1(&longer), Ok(Some((expected, text.len()))), "{text}");
        for cut in 0..text.len() {
            assert_eq!(v1(&text[..cut]), Ok(None), "{text} cut at {cut}");
            assert!(may_be_proxy(&text.as_bytes()[..cut]));
        }
    }
}

#[test]
fn version_1_is_read_strictly() {
    let cases = [
        "PROXY\r\n",
        "PROXY \r\n",
        "PROXY TCP4\r\n",
        "PROXY TCP5 192.0.2.1 192.0.2.2 1 2\r\n",
        "PROXY UNKNOWNS\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 1\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 1 2 3\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 1 2 \r\n",
        "PROXY TCP4  192.0.2.1 192.0.2.2 1 2\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 +1 2\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 01 2\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 65536 2\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 1 \r\n",
        "PROXY TCP4 192.0.2.01 192.0.2.2 1 2\r\n",
        "PROXY TCP4 192.0.2.256 192.0.2.2 1 2\r\n",
        "PROXY TCP4 ::1 ::1 1 2\r\n",
        "PROXY TCP6 192.0.2.1 192.0.2.2 1 2\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 1 2\n\r\n",
        "proxy TCP4 192.0.2.1 192.0.2.2 1 2\r\n",
        "GET / HTTP/1.1\r\n",
    ];
    for text in cases {
        assert_eq!(v1(text), Err(ProxyError::Malformed), "{text}");
    }
    assert!(!may_be_proxy(b"GET "));
    assert!(!may_be_proxy(b"PROXX"));
}

#[test]
fn version_1_has_at_most_107_bytes() {
    let longest = format!("PROXY UNKNOWN {}\r\n", "x".repeat(V1_MAX - 16));
    assert_eq!(longest.len(), V1_MAX);
    assert_eq!(v1(&longest), Ok(Some((Proxied::Keep, V1_MAX))));
    let longer = format!("PROXY UNKNOWN {}\r\n", "x".repeat(V1_MAX - 15));
    assert_eq!(v1(&longer), Err(ProxyError::Malformed));
    assert_eq!(v1(&longer[..V1_MAX]), Err(ProxyError::Malformed));
    assert_eq!(v1(&longer[..V1_MAX - 1]), Ok(None));
}

fn v2_header(version_command: u8, family: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = V2_SIGNATURE.to_vec();
    bytes.extend([version_command, family]);
    bytes.extend(u16::try_from(body.len()).unwrap().to_be_bytes());
    bytes.extend(body);
    bytes
}

#[test]
fn version_2_is_read() {
    let four = [192, 0, 2, 1, 192, 0, 2, 2, 0x12, 0x34, 1, 187];
    let six: Vec<u8> = (0..36).collect();
    let mut tlvs = four.to_vec();
    tlvs.extend([0x20, 0, 3, 1, 2, 3, 0xff]);
    let cases = [
        (0x21, 0x11, four.to_vec(), address("192.0.2.1:4660")),
        (0x21, 0x11, tlvs, address("192.0.2.1:4660")),
        (0x21, 0x21, six, address("[1:203:405:607:809:a0b:c0d:e0f]:8225")),
        (0x20, 0x11, four.to_vec(), Proxied::Keep),
        (0x20, 0x00, vec![], Proxied::Keep),
        (0x21, 0x00, vec![1, 2, 3], Proxied::Keep),
        (0x21, 0x12, four.to_vec(), Proxied::Keep),
        (0x21, 0x31, vec![0; 216], Proxied::Keep),
    ];
    for (version_command, family, body, expected) in cases {
        let mut bytes = v2_header(version_command, family, &body);
        let length = bytes.len();
        for cut in 0..length {
            assert_eq!(parse_proxy(&bytes[..cut]), Ok(None), "{version_command:x} {family:x} cut at {cut}");
            assert!(may_be_proxy(&bytes[..cut]));
        }
        assert_eq!(parse_proxy(&bytes), Ok(Some((expected, length))));
        bytes.extend(b"GET /");
        assert_eq!(parse_proxy(&bytes), Ok(Some((expected, length))));
    }
}

#[test]
fn version_2_is_read_strictly() {
    let cases = [
        v2_header(0x11, 0x11, &[0; 12]),
        v2_header(0x31, 0x11, &[0; 12]),
        v2_header(0x22, 0x11, &[0; 12]),
        v2_header(0x21, 0x41, &[0; 12]),
        v2_header(0x21, 0x13, &[0; 12]),
        v2_header(0x21, 0x11, &[0; 11]),
        v2_header(0x21, 0x21, &[0; 35]),
        v2_header(0x21, 0x11, &[0; V2_MAX - 15]),
        b"\r\n\r\n\0\r\nQUIX\n".to_vec(),
        b"\r\n\r\nGET".to_vec(),
    ];
    for bytes in cases {
        assert_eq!(parse_proxy(&bytes), Err(ProxyError::Malformed), "{bytes:x?}");
    }
    assert!(parse_proxy(&v2_header(0x21, 0x11, &[0; V2_MAX - 16])).is_ok());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn what_another_encoder_wrote_is_read(source: SocketAddr, destination: SocketAddr) {
        let (expected_v2, text) = match (source, destination) {
            (SocketAddr::V4(from), SocketAddr::V4(to)) =>
                (Some(()), format!("PROXY TCP4 {} {} {} {}\r\n", from.ip(), to.ip(), from.port(), to.port())),
            (SocketAddr::V6(from), SocketAddr::V6(to)) =>
                (Some(()), format!("PROXY TCP6 {} {} {} {}\r\n", from.ip(), to.ip(), from.port(), to.port())),
            _ => (None, "PROXY UNKNOWN\r\n".to_owned()),
        };
        let plain = SocketAddr::new(source.ip(), source.port());
        let expected = if expected_v2.is_some() { Proxied::Address(plain) } else { Proxied::Keep };
        prop_assert_eq!(parse_proxy(text.as_bytes()), Ok(Some((expected, text.len()))));
        let bytes = v2::Builder::with_addresses(
            v2::Version::Two | v2::Command::Proxy,
            v2::Protocol::Stream,
            (source, destination),
        ).write_tlv(v2::Type::NoOp, &[1, 2, 3][..]).unwrap().build().unwrap();
        if expected_v2.is_some() {
            prop_assert_eq!(parse_proxy(&bytes), Ok(Some((expected, bytes.len()))));
        }
    }

    #[test]
    fn cuts_make_no_difference(version_2: bool, bytes in proptest::collection::vec(any::<u8>(), 0..160)) {
        let mut input = if version_2 { V2_SIGNATURE.to_vec() } else { V1_SIGNATURE.to_vec() };
        if version_2 && bytes.len() > 3 {
            input.extend([0x20 | bytes[0] & 1, [0x11, 0x21, 0][usize::from(bytes[1] % 3)], 0]);
        }
        input.extend(&bytes);
        let mut grown = Ok(None);
        for end in 0..=input.len() {
            grown = parse_proxy(&input[..end]);
            if grown != Ok(None) {
                break;
            }
        }
        prop_assert_eq!(parse_proxy(&input), grown);
    }
}
