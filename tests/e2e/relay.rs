//! A way between edges and their server that counts the messages of their sessions, and kills the server at one.
//!
//! Keeps: a message is a record of TLS with encrypted content, in either direction; the one at which the server
//! dies does not arrive, all before it did.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use crate::peers::serve;
use crate::support::Handle;

/// Type, version and length of a record.
const HEADER: usize = 5;
/// The type of encrypted records.
const DATA: u8 = 23;

/// Who is to die, and after how many more messages.
struct Armed {
    server: Handle,
    left: usize,
}

/// The relay; it serves for as long as the test binary runs.
pub(crate) struct Relay {
    pub(crate) port: u16,
    armed: Arc<Mutex<Option<Armed>>>,
}

impl Relay {
    /// Between whoever connects and a port of this machine.
    pub(crate) fn to(control: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let armed = Arc::new(Mutex::new(None));
        let gate = armed.clone();
        serve(listener, move |edge| {
            // Without a server the edge is hung up on, and tries again.
            if let Ok(server) = TcpStream::connect(("127.0.0.1", control)) {
                relay(&edge, &server, &gate);
            }
        });
        Self { port, armed }
    }

    /// The server dies in place of the message that follows so many more.
    pub(crate) fn kill_after(&self, messages: usize, server: &Handle) {
        *self.armed.lock().unwrap() = Some(Armed { server: server.clone(), left: messages });
    }

    /// From now on everything passes. True if the server was killed by then.
    pub(crate) fn disarm(&self) -> bool {
        self.armed.lock().unwrap().take().is_none()
    }
}

fn relay(edge: &TcpStream, server: &TcpStream, gate: &Arc<Mutex<Option<Armed>>>) {
    thread::scope(|scope| {
        let pass = |mut from: &TcpStream, mut to: &TcpStream| {
            from.set_nodelay(true).ok();
            // Either end may go at any time; the other one learns of it.
            records(&mut from, &mut to, gate).ok();
            from.shutdown(Shutdown::Both).ok();
            to.shutdown(Shutdown::Both).ok();
        };
        scope.spawn(move || pass(edge, server));
        pass(server, edge);
    });
}

fn records(from: &mut impl Read, to: &mut impl Write, gate: &Mutex<Option<Armed>>) -> io::Result<()> {
    let mut bytes = vec![0; HEADER];
    loop {
        bytes.resize(HEADER, 0);
        from.read_exact(&mut bytes)?;
        let length = usize::from(u16::from_be_bytes([bytes[3], bytes[4]]));
        let is_message = bytes[0] == DATA;
        bytes.resize(HEADER + length, 0);
        from.read_exact(&mut bytes[HEADER..])?;
        if is_message && kills(gate) {
            return Ok(());
        }
        to.write_all(&bytes)?;
    }
}

/// Counts a message; true if the server died in its place.
fn kills(gate: &Mutex<Option<Armed>>) -> bool {
    let mut armed = gate.lock().unwrap();
    match armed.as_mut() {
        None => false,
        Some(armed) if armed.left > 0 => {
            armed.left -= 1;
            false
        }
        Some(last) => {
            last.server.kill();
            *armed = None;
            true
        }
    }
}
