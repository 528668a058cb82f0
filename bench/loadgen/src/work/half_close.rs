//! Whether one side may end while the other goes on. I/O.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::thread;
use std::time::Duration;

use super::Work;
use super::memory::check;
use crate::pattern::pattern;
use crate::report::Report;
use crate::server::BIG;
use crate::sockets::connect;

const SENT: usize = 1 << 20;

pub fn run(work: &Work) -> io::Result<()> {
    let pattern = pattern(BIG);
    let word = |result: io::Result<()>| result.map_or_else(|error| error.to_string(), |()| "ok".to_owned());
    Report::default()
        .text("client_ends", &word(client_ends(work.address, &pattern)))
        .text("target_ends", &word(target_ends(work.address, &pattern)))
        .print();
    Ok(())
}

fn number(stream: &mut impl Read) -> io::Result<u64> {
    let mut bytes = [0; 8];
    stream.read_exact(&mut bytes)?;
    Ok(u64::from_le_bytes(bytes))
}

/// The client has sent all before the target starts to.
fn client_ends(address: SocketAddr, pattern: &[u8]) -> io::Result<()> {
    let mut stream = connect(address)?;
    stream.write_all(b"H")?;
    stream.write_all(&pattern[..SENT])?;
    stream.shutdown(Shutdown::Write)?;
    check(&mut stream, BIG, pattern)?;
    let seen = number(&mut stream)?;
    if seen != SENT as u64 {
        return Err(io::Error::other(format!("the target saw {seen} of {SENT} bytes")));
    }
    match stream.read(&mut [0; 1])? {
        0 => Ok(()),
        _ => Err(io::Error::other("more than was sent")),
    }
}

/// The target ends at once; what the client sends then must arrive.
fn target_ends(address: SocketAddr, pattern: &[u8]) -> io::Result<()> {
    let mut stream = connect(address)?;
    stream.write_all(b"R")?;
    let mut greeting = Vec::new();
    stream.read_to_end(&mut greeting)?;
    if greeting != b"RDY!" {
        return Err(io::Error::other("the greeting was lost"));
    }
    // Long enough for a forwarder that takes one end for both to close.
    thread::sleep(Duration::from_millis(500));
    stream.write_all(&pattern[..BIG])?;
    drop(stream);
    thread::sleep(Duration::from_millis(300));
    let mut stream = connect(address)?;
    stream.write_all(b"Q")?;
    let seen = number(&mut stream)?;
    if seen != BIG as u64 {
        return Err(io::Error::other(format!("the target saw {seen} of {BIG} bytes")));
    }
    Ok(())
}
