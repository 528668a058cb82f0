//! What anybody can do who reaches a port.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::thread;
use std::time::Duration;

use super::arena::Place;
use super::dice::Dice;
use crate::floods::{frame, headers, http2};

/// How long an attacker waits for a port that does not take any more.
const PATIENCE: Duration = Duration::from_millis(200);
/// Connections that are held open at a time, per port.
const HELD: usize = 150;

fn connect(port: u16) -> Option<TcpStream> {
    let stream = TcpStream::connect_timeout(&([127, 0, 0, 1], port).into(), PATIENCE).ok()?;
    stream.set_write_timeout(Some(PATIENCE)).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    Some(stream)
}

/// Begins calls on one connection for as long as it is let.
pub(super) fn streams(place: &Place, _: &mut Dice) -> u64 {
    let Some(mut stream) = http2(place.control) else { return 0 };
    (0..5000).take_while(|number| stream.write_all(&headers(2 * number + 1)).is_ok()).count() as u64
}

pub(super) fn resets(place: &Place, _: &mut Dice) -> u64 {
    let Some(mut stream) = http2(place.control) else { return 0 };
    let both = |number: u32| [headers(2 * number + 1), frame(0x3, 0, 2 * number + 1, &[0, 0, 0, 8])].concat();
    (0..5000).take_while(|number| stream.write_all(&both(*number)).is_ok()).count() as u64
}

/// A message of 64 MiB is announced on every stream.
pub(super) fn megabytes(place: &Place, _: &mut Dice) -> u64 {
    const PIECE: usize = 16 << 10;
    let Some(mut stream) = http2(place.control) else { return 0 };
    stream.set_write_timeout(Some(PATIENCE)).ok();
    let begun = [&[0][..], &(64_u32 << 20).to_be_bytes(), &[0x1a; PIECE - 5]].concat();
    let more = frame(0, 0, 1, &[0x1a; PIECE]);
    let opened = (0..16_u32).map(|number| 2 * number + 1).take_while(|number| {
        stream.write_all(&headers(*number)).and_then(|()| stream.write_all(&frame(0, 0, *number, &begun))).is_ok()
    });
    let opened = opened.count() as u64;
    let sent = (0..64).take_while(|_| stream.write_all(&more).is_ok()).count() as u64;
    stream.shutdown(Shutdown::Both).ok();
    opened + sent
}

/// Connections that say little or nothing, at every port at once.
pub(super) fn half_open(place: &Place, dice: &mut Dice) -> u64 {
    const BEGINNINGS: [&[u8]; 5] =
        [b"", b"G", b"GET /v1/status HTTP/1.1\r\nHost: x\r\n", b"PRI * HT", b"\x16\x03\x01\x02\x00"];
    let mut held = Vec::new();
    for port in place.all_ports() {
        for mut stream in (0..HELD).map_while(|_| connect(port)) {
            let beginning: &[u8] = BEGINNINGS[dice.below(BEGINNINGS.len())];
            stream.write_all(beginning).ok();
            held.push(stream);
        }
    }
    thread::sleep(Duration::from_millis(300));
    held.len() as u64
}

/// Heads and bodies, byte by byte.
pub(super) fn slow(place: &Place, dice: &mut Dice) -> u64 {
    let head = "GET /v1/status HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: ".to_owned() + &"x".repeat(200);
    let body = format!(
        "POST /v1/webhooks/git HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100000\r\nX-Hub-Signature-256: sha256=00\r\n\r\n{}",
        "x".repeat(200)
    );
    let mut held: Vec<(TcpStream, &[u8])> = Vec::new();
    for port in place.http_ports() {
        for stream in (0..20).map_while(|_| connect(port)) {
            held.push((stream, if dice.below(2) == 0 { head.as_bytes() } else { body.as_bytes() }));
        }
    }
    let count = held.len() as u64;
    for at in 0..40 {
        held.retain_mut(|(stream, bytes)| bytes.get(at..=at).is_some_and(|byte| stream.write_all(byte).is_ok()));
        thread::sleep(Duration::from_millis(10));
    }
    count
}

/// Heads, targets and bodies above every bound.
pub(super) fn oversize(place: &Place, dice: &mut Dice) -> u64 {
    let port = *dice.pick(&place.http_ports());
    let Some(mut stream) = connect(port) else { return 0 };
    let token = &place.token;
    let own = format!("Host: 127.0.0.1:{port}\r\nAuthorization: Bearer {token}\r\nContent-Type: application/json\r\n");
    let request = match dice.below(6) {
        0 => format!("GET / HTTP/1.1\r\n{own}X: {}\r\n\r\n", "x".repeat(1 << 20)),
        1 => format!("GET / HTTP/1.1\r\n{own}{}\r\n", "X: y\r\n".repeat(10_000)),
        2 => format!("GET /{} HTTP/1.1\r\n{own}\r\n", "x".repeat(1 << 20)),
        3 => format!("POST /v1/validate HTTP/1.1\r\n{own}Content-Length: {}\r\n\r\n{{", u64::MAX),
        4 => format!("POST /v1/freeze HTTP/1.1\r\n{own}Content-Length: 1000000\r\n\r\n{}", "x".repeat(1_000_000)),
        _ => {
            let chunks = "10000\r\n".to_owned() + &"x".repeat(0x10000) + "\r\n";
            format!("POST /v1/overrides HTTP/1.1\r\n{own}Transfer-Encoding: chunked\r\n\r\n{}", chunks.repeat(40))
        }
    };
    stream.write_all(request.as_bytes()).ok();
    u64::from(stream.read(&mut [0; 512]).is_ok_and(|read| read > 0))
}

/// What a stranger can send to the webhook: bodies of any length, signed by nobody.
pub(super) fn webhook(place: &Place, dice: &mut Dice) -> u64 {
    let Some(mut stream) = connect(place.webhook) else { return 0 };
    let length = *dice.pick(&[0, 1000, 1 << 20, 26 << 20]);
    let proof = *dice.pick(&["X-Hub-Signature-256: sha256=00", "X-Gitlab-Token: wrong", "X-Nothing: 1"]);
    let head = format!(
        "POST /v1/webhooks/git HTTP/1.1\r\nHost: git.example.org\r\n{proof}\r\nContent-Length: {length}\r\n\r\n"
    );
    let piece = vec![b'x'; 64 << 10];
    if stream.write_all(head.as_bytes()).is_ok() {
        let mut left = length;
        while left > 0 && stream.write_all(&piece[..left.min(piece.len())]).is_ok() {
            left -= left.min(piece.len());
        }
    }
    u64::from(stream.read(&mut [0; 512]).is_ok_and(|read| read > 0))
}
