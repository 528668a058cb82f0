//! What reading the header of a load balancer promises.

use proptest::prelude::*;
use schema::rule::ProxyProtocol;

use super::*;
use crate::decide::proxy::{Header, of_own};

fn end(text: &str) -> SocketAddr {
    text.parse().expect("an address with a port")
}

fn whole(bytes: &[u8]) -> Option<(usize, Option<HeaderEnds>)> {
    match read(bytes) {
        ClientHeader::Whole { length, ends } => Some((length, ends)),
        ClientHeader::Partial | ClientHeader::Invalid => None,
    }
}

fn v2(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(body.len()).expect("a short body").to_be_bytes();
    [SIGNATURE_V2, &[command, family], &length, body].concat()
}

#[test]
fn what_the_edge_writes_it_reads_and_every_beginning_of_it_is_partial() {
    for version in [ProxyProtocol::V1, ProxyProtocol::V2] {
        for (client, local) in [("192.0.2.1:56324", "198.51.100.2:443"), ("[2001:db8::1]:1", "[2001:db8::2]:65535")] {
            let header = Header::new(version, end(client), end(local));
            let ends = Some(HeaderEnds { client: end(client), local: end(local) });
            let (length, bytes) = (header.as_bytes().len(), [header.as_bytes(), b"payload"].concat());
            assert_eq!(whole(&bytes), Some((length, ends)));
            for cut in 0..length {
                assert_eq!(read(&bytes[..cut]), ClientHeader::Partial, "{cut} bytes of {version:?}");
            }
        }
        assert_eq!(whole(of_own(version)), Some((of_own(version).len(), None)), "nobody stands behind it");
    }
}

#[test]
fn a_mapped_client_is_the_ipv4_one() {
    let header = b"PROXY TCP6 ::ffff:192.0.2.1 ::ffff:198.51.100.2 9 8\r\n";
    let ends = HeaderEnds { client: end("192.0.2.1:9"), local: end("198.51.100.2:8") };
    assert_eq!(whole(header), Some((header.len(), Some(ends))));
}

#[test]
fn lines_that_the_protocol_does_not_know_are_invalid() {
    let lines: &[&[u8]] = &[
        b"GET / HTTP/1.1\r\n\r\n",
        b"PROXY TCP4 192.0.2.1 198.51.100.2 1\r\n",
        b"PROXY TCP4 192.0.2.1 198.51.100.2 1 2 3\r\n",
        b"PROXY TCP4 192.0.2.1 198.51.100.2 1 65536\r\n",
        b"PROXY TCP4 192.0.2.1 198.51.100.2 01 2\r\n",
        b"PROXY TCP4 192.0.2.1 198.51.100.2 +1 2\r\n",
        b"PROXY TCP4  192.0.2.1 198.51.100.2 1 2\r\n",
        b"PROXY TCP4 2001:db8::1 198.51.100.2 1 2\r\n",
        b"PROXY TCP6 192.0.2.1 198.51.100.2 1 2\r\n",
        b"PROXY UDP4 192.0.2.1 198.51.100.2 1 2\r\n",
        b"PROXY UNKNOWNX\r\n",
        b"PROXY \r\n",
        b"PROXY\r\n",
        b"PROXY TCP4 \xff\r\n",
        b"proxy TCP4 192.0.2.1 198.51.100.2 1 2\r\n",
        &[b'P'; 200],
    ];
    for line in lines {
        assert_eq!(read(line), ClientHeader::Invalid, "{}", String::from_utf8_lossy(line));
    }
    let endless = [b"PROXY ".as_slice(), &[b'x'; 200]].concat();
    assert_eq!(read(&endless[..100]), ClientHeader::Partial);
    assert_eq!(read(&endless), ClientHeader::Invalid, "no line of this version is so long");
    let unknown = b"PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\nrest";
    assert_eq!(whole(unknown), Some((unknown.len() - 4, None)));
}

#[test]
fn binary_headers_skip_extensions_and_families_that_are_not_streams_over_ip() {
    let ipv4 = [192, 0, 2, 1, 198, 51, 100, 2, 0, 9, 0, 8];
    let ends = Some(HeaderEnds { client: end("192.0.2.1:9"), local: end("198.51.100.2:8") });
    let extended = [&ipv4[..], &[0x04, 0, 3, 1, 2, 3]].concat();
    assert_eq!(whole(&v2(0x21, 0x11, &extended)), Some((34, ends)));
    // LOCAL says nothing about a client, whatever stands behind it; so do UNSPEC, UDP and UNIX.
    for (command, family, size) in [(0x20, 0x11, 12), (0x20, 0, 0), (0x21, 0, 5), (0x21, 0x12, 12), (0x21, 0x31, 216)] {
        assert_eq!(whole(&v2(command, family, &vec![1; size])), Some((16 + size, None)), "{command:x} {family:x}");
    }
    for (command, family, size) in
        [(0x11, 0x11, 12), (0x22, 0x11, 12), (0x21, 0x41, 12), (0x21, 0x13, 12), (0x21, 0x11, 11), (0x21, 0x21, 35)]
    {
        assert_eq!(read(&v2(command, family, &vec![1; size])), ClientHeader::Invalid, "{command:x} {family:x} {size}");
    }
    assert_eq!(read(&v2(0x21, 0x11, &vec![0; LONGEST])), ClientHeader::Invalid, "longer than anybody sends");
    assert_eq!(read(&v2(0x21, 0x11, &vec![0; LONGEST - 16])[..20]), ClientHeader::Partial);
}

proptest! {
    #[test]
    fn no_bytes_panic_and_a_whole_header_is_within_them(
        start in 0..3_usize,
        tail in prop::collection::vec(any::<u8>(), 0..300),
    ) {
        let start: &[u8] = [&[][..], WORD_V1, SIGNATURE_V2][start];
        let bytes = [start, &tail].concat();
        match read(&bytes) {
            ClientHeader::Whole { length, .. } => prop_assert!(length <= bytes.len() && length <= LONGEST),
            ClientHeader::Partial => prop_assert!(bytes.len() < LONGEST),
            ClientHeader::Invalid => {}
        }
    }
}
