//! A reader of hellos beside recorded clients, beside rustls, and beside bytes that somebody made up.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

/// A handshake message with these extensions.
fn message(extensions: &[(u16, Vec<u8>)]) -> Vec<u8> {
    let mut body = vec![3, 3];
    body.extend([7; 32]);
    body.push(32);
    body.extend([9; 32]);
    body.extend([0, 6, 0x13, 0x01, 0x13, 0x02, 0x13, 0x03, 1, 0]);
    let list: Vec<u8> = extensions
        .iter()
        .flat_map(|(kind, content)| {
            let length = (content.len() as u16).to_be_bytes();
            [&kind.to_be_bytes()[..], &length[..], &content[..]].concat()
        })
        .collect();
    body.extend((list.len() as u16).to_be_bytes());
    body.extend(list);
    let length = (body.len() as u32).to_be_bytes();
    [&[CLIENT_HELLO], &length[1..], &body].concat()
}

/// The extension with a name.
fn named(name: &[u8]) -> (u16, Vec<u8>) {
    let length = (name.len() as u16).to_be_bytes();
    let entry = [&[HOST_NAME], &length[..], name].concat();
    (SERVER_NAME, [&(entry.len() as u16).to_be_bytes()[..], &entry].concat())
}

fn hello_for(name: &[u8]) -> Vec<u8> {
    message(&[(0x2b, vec![2, 3, 4]), named(name), (0x0a, vec![0, 2, 0, 0x1d])])
}

fn record(payload: &[u8]) -> Vec<u8> {
    [&[HANDSHAKE, 3, 1], &(payload.len() as u16).to_be_bytes()[..], payload].concat()
}

/// The message in records of these lengths, and one for the rest.
fn records(message: &[u8], lengths: &[usize]) -> Vec<u8> {
    let (mut bytes, mut rest) = (Vec::new(), message);
    for length in lengths {
        let (payload, behind) = rest.split_at((*length).min(rest.len()));
        bytes.extend(record(payload));
        rest = behind;
    }
    if !rest.is_empty() {
        bytes.extend(record(rest));
    }
    bytes
}

fn name(bytes: &[u8]) -> Option<String> {
    match read(bytes) {
        Hello::Whole(name) => name.map(|name| String::from_utf8_lossy(&name).into_owned()),
        other => panic!("{other:?}"),
    }
}

/// Clients as they were recorded: the first line of each file has how, the rest is in hexadecimal.
const RECORDED: &[(&str, Option<&str>, &str)] = &[
    ("openssl", Some("openssl.example"), include_str!("../../../tests/hellos/openssl.hex")),
    ("openssl-tls12", Some("openssl.example"), include_str!("../../../tests/hellos/openssl-tls12.hex")),
    ("openssl-noname", None, include_str!("../../../tests/hellos/openssl-noname.hex")),
    ("curl", Some("curl.example"), include_str!("../../../tests/hellos/curl.hex")),
    ("curl-gnutls", Some("gnutls.example"), include_str!("../../../tests/hellos/curl-gnutls.hex")),
    ("nss", Some("nss.example"), include_str!("../../../tests/hellos/nss.hex")),
    ("go", Some("go.example"), include_str!("../../../tests/hellos/go.hex")),
    ("chromium", Some("chromium.example"), include_str!("../../../tests/hellos/chromium.hex")),
    ("firefox", Some("firefox.example"), include_str!("../../../tests/hellos/firefox.hex")),
    ("java", Some("java.example"), include_str!("../../../tests/hellos/java.hex")),
];

fn recorded() -> impl Iterator<Item = (&'static str, Option<&'static str>, Vec<u8>)> {
    RECORDED.iter().map(|(client, expected, file)| {
        let digits: String = file.lines().filter(|line| !line.starts_with('#')).collect();
        let byte = |at: usize| u8::from_str_radix(&digits[at..at + 2], 16).expect("two digits");
        (*client, *expected, (0..digits.len()).step_by(2).map(byte).collect())
    })
}

/// The name that rustls reads in the bytes, if it accepts them.
fn by_rustls(bytes: &[u8]) -> Result<Option<String>, String> {
    let mut acceptor = rustls::server::Acceptor::default();
    let mut rest = bytes;
    while !rest.is_empty() {
        acceptor.read_tls(&mut rest).expect("memory can be read");
        match acceptor.accept() {
            Ok(None) => {}
            Ok(Some(accepted)) => return Ok(accepted.client_hello().server_name().map(str::to_owned)),
            Err((error, _)) => return Err(error.to_string()),
        }
    }
    Err("it is not whole".to_owned())
}

/// Everything that rustls accepts is read here, with the same name. rustls leaves out names that are addresses.
fn agrees_with_rustls(bytes: &[u8]) -> Result<bool, TestCaseError> {
    let Ok(theirs) = by_rustls(bytes) else { return Ok(false) };
    let Hello::Whole(ours) = read(bytes) else { return Err(TestCaseError::fail(format!("{:?}", read(bytes)))) };
    let ours = ours.map(|name| String::from_utf8_lossy(&name).to_ascii_lowercase());
    let is_address = ours.as_ref().is_some_and(|name| name.parse::<std::net::IpAddr>().is_ok());
    if !is_address {
        prop_assert_eq!(ours, theirs.map(|name| name.to_ascii_lowercase()));
    }
    Ok(true)
}

#[test]
fn the_name_of_every_recorded_client_is_read_and_none_is_decided_before_it_is_whole() {
    for (client, expected, bytes) in recorded() {
        assert_eq!(name(&bytes).as_deref(), expected, "{client}");
        assert!(is_tls(&bytes), "{client}");
        for end in 0..bytes.len() {
            let Hello::Incomplete { needs } = read(&bytes[..end]) else { panic!("{client}, {end} bytes") };
            assert!(needs > end && needs <= bytes.len(), "{client}: {needs} after {end} of {}", bytes.len());
        }
    }
}

#[test]
fn what_rustls_accepts_of_the_recorded_clients_has_the_same_name() {
    let accepted = recorded().filter(|(_, _, bytes)| agrees_with_rustls(bytes).expect("the same name")).count();
    assert!(accepted >= RECORDED.len() - 1, "{accepted}");
}

#[test]
fn a_hello_that_rustls_refuses_has_its_name_read() {
    // It has no signature_algorithms.
    let bytes = record(&hello_for(b"www.example.org"));
    assert!(by_rustls(&bytes).is_err());
    assert_eq!(name(&bytes).as_deref(), Some("www.example.org"));
}

#[test]
fn a_hello_may_be_cut_into_records_anywhere() {
    let message = hello_for(b"www.example.org");
    for cut in 1..message.len() {
        let bytes = records(&message, &[cut]);
        assert_eq!(name(&bytes).as_deref(), Some("www.example.org"), "{cut}");
        for end in 0..bytes.len() {
            let Hello::Incomplete { needs } = read(&bytes[..end]) else { panic!("{cut}, {end} bytes") };
            assert!(needs > end && needs <= bytes.len(), "{cut}: {needs} after {end}");
        }
    }
    let crumbs = records(&message, &vec![1; message.len()]);
    assert_eq!(name(&crumbs).as_deref(), Some("www.example.org"));
    let empty_ones = [record(&[]), record(&[]), records(&message, &[2])].concat();
    assert_eq!(name(&empty_ones).as_deref(), Some("www.example.org"));
}

#[test]
fn a_hello_in_crumbs_is_looked_at_a_few_times_only() {
    let message = message(&[(0x15, vec![0; 9_000]), named(b"www.example.org")]);
    let bytes = records(&message, &vec![1; message.len()]);
    let (mut present, mut looks) = (1, 0);
    while let Hello::Incomplete { needs } = read(&bytes[..present]) {
        (present, looks) = (needs, looks + 1);
    }
    assert_eq!(present, bytes.len());
    assert!(looks < 64, "{looks}");
}

#[test]
fn the_whole_hello_is_awaited_though_the_name_is_known() {
    let bytes = record(&hello_for(b"www.example.org"));
    assert!(matches!(read(&bytes[..bytes.len() - 1]), Hello::Incomplete { .. }));
    let more = [&bytes[..], b"early data"].concat();
    assert_eq!(name(&more).as_deref(), Some("www.example.org"));
}

#[test]
fn what_is_not_tls_is_known_by_its_first_bytes() {
    for bytes in [&b"GET / HTTP/1.1\r\n"[..], b"SSH-2.0-", b"\0", b"\x15\x03\x03", b"\x16\x02", b"PROXY TCP4 "] {
        assert_eq!(read(bytes), Hello::NotTls, "{bytes:?}");
        assert!(!is_tls(bytes));
    }
    // A handshake that a client does not begin with.
    assert_eq!(read(&record(&[2, 0, 0, 9, 3, 3])), Hello::NotTls);
    assert_eq!(read(b"\x80\x2e\x04\x03\x01"), Hello::NotTls);
    assert_eq!(read(b"\xff\xff\xff\xff\xff"), Hello::NotTls);
    assert_eq!(read(b""), Hello::Incomplete { needs: 1 });
    assert!(!is_tls(b""), "nobody knows, so nobody is sent an alert");
    assert!(is_tls(b"\x16"));
}

#[test]
fn the_form_of_ssl_2_is_a_hello_without_a_name() {
    // As OpenSSL 0.9.8 sends it: 46 bytes, version 3.1, 21 of ciphers, no session, 16 of challenge.
    let mut bytes = vec![0x80, 0x2e, 1, 3, 1, 0, 21, 0, 0, 0, 16];
    bytes.resize(48, 5);
    assert_eq!(read(&bytes), Hello::Whole(None));
    for end in 1..bytes.len() {
        let Hello::Incomplete { needs } = read(&bytes[..end]) else { panic!("{end} bytes") };
        assert!(needs > end && needs <= bytes.len(), "{needs} after {end}");
    }
    assert!(is_tls(&bytes[..1]));
}

#[test]
fn lengths_that_lie_are_no_harm_and_hide_no_name_before_them() {
    let bytes = record(&hello_for(b"www.example.org"));
    // The message claims more than follows: it is never whole.
    let mut longer = bytes.clone();
    longer[8] += 1;
    assert_eq!(read(&longer), Hello::Incomplete { needs: bytes.len() + 1 + RECORD_HEADER });
    // It claims less: what is in it has no room for the name.
    let mut shorter = bytes.clone();
    (shorter[6], shorter[7], shorter[8]) = (0, 0, 40);
    assert_eq!(read(&shorter), Hello::Whole(None));
    let mut huge = bytes.clone();
    huge[6] = 1;
    assert_eq!(read(&huge), Hello::TooLarge);
    // All extensions together, and the one behind the name, claim more than there is.
    let lying = message(&[named(b"www.example.org"), (0x2b, vec![2, 3, 4])]);
    let at = lying.len() - 5;
    for (place, value) in [(at, 0xff), (at + 1, 0xff), (at - 28, 0xff)] {
        let mut lying = lying.clone();
        lying[place] = value;
        assert_eq!(name(&record(&lying)).as_deref(), Some("www.example.org"), "{place}");
    }
    // The name claims more than its extension has.
    let mut lying = named(b"www.example.org");
    lying.1[4] += 1;
    assert_eq!(name(&record(&message(&[lying]))), None);
}

#[test]
fn names_that_are_empty_or_of_another_kind_are_none() {
    assert_eq!(name(&record(&hello_for(b""))), None);
    assert_eq!(name(&record(&message(&[]))), None);
    assert_eq!(name(&record(&message(&[(SERVER_NAME, vec![])]))), None);
    let other = (SERVER_NAME, vec![0, 8, 1, 0, 1, b'x', 0, 0, 1, b'y']);
    assert_eq!(name(&record(&message(&[other]))).as_deref(), Some("y"));
}

#[test]
fn a_hello_may_have_64_kib_and_not_a_byte_more() {
    let sized = |content: usize| {
        let message = message(&[named(b"www.example.org"), (0x15, vec![0; 48_000]), (0x16, vec![0; content])]);
        records(&message, &[16_000, 16_000, 16_000])
    };
    let most = MAX_HELLO - sized(0).len();
    assert_eq!(sized(most).len(), MAX_HELLO);
    assert_eq!(name(&sized(most)).as_deref(), Some("www.example.org"));
    assert_eq!(read(&sized(most + 1)), Hello::TooLarge);
    assert!(matches!(read(&sized(most + 1)[..100]), Hello::Incomplete { .. }), "by what is known so far");
}

#[test]
fn the_alert_is_what_tls_clients_read_as_unrecognized_name() {
    let [kind, _, _, high, low, level, description] = UNRECOGNIZED_NAME;
    assert_eq!((kind, u16::from_be_bytes([high, low]), level, description), (21, 2, 2, 112));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn made_up_bytes_are_read_without_a_panic(bytes in vec(any::<u8>(), 0..300), kind in 0_u8..4) {
        let bytes = match kind {
            0 => bytes,
            1 => [&[HANDSHAKE, 3, 1, 1, 0, CLIENT_HELLO, 0][..], &bytes].concat(),
            2 => record(&[&[CLIENT_HELLO, 0, 0, bytes.len() as u8][..], &bytes].concat()),
            _ => record(&message(&[(SERVER_NAME, bytes)])),
        };
        if let Hello::Incomplete { needs } = read(&bytes) {
            prop_assert!(needs > bytes.len());
        }
        agrees_with_rustls(&bytes)?;
    }

    /// A client that is known, with some bytes changed: rustls accepts many of these.
    #[test]
    fn what_rustls_accepts_of_changed_hellos_is_read_the_same(
        which in 0..RECORDED.len(),
        changes in vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        lengths in vec(1_usize..400, 0..5),
    ) {
        let (_, _, bytes) = recorded().nth(which).expect("one of them");
        let mut message = bytes[RECORD_HEADER..].to_vec();
        for (at, value) in changes {
            let at = at.index(message.len());
            message[at] = value;
        }
        let bytes = records(&message, &lengths);
        if let Hello::Incomplete { needs } = read(&bytes) {
            prop_assert!(needs > bytes.len());
        }
        agrees_with_rustls(&bytes)?;
    }

    #[test]
    fn a_name_is_read_however_its_hello_is_cut(name in "[a-z0-9.-]{1,80}", lengths in vec(0_usize..60, 0..12)) {
        let bytes = records(&hello_for(name.as_bytes()), &lengths);
        prop_assert_eq!(super::tests::name(&bytes), Some(name));
    }
}
