//! Who holds a port that could not be bound, as far as /proc tells. I/O, blocking; only where a bind has failed.
//!
//! Keeps: looking takes a bounded time, whatever runs on the host, and what is found is fit to be printed.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::Read;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant};

use schema::net::{ListenAddress, Listener, Protocol};

/// For all that one switch asks: nobody should wait for names.
const TIME: Duration = Duration::from_millis(500);
/// Of each table: the listening sockets of every host, which come first.
const TABLE_BYTES: u64 = 8 << 20;
/// `TCP_LISTEN`, and `TCP_CLOSE`, which the table has for sockets of datagrams without a peer.
const LISTENING: [&str; 2] = ["0A", "07"];
/// `TCP_TIME_WAIT`.
const ENDING: &str = "06";

/// A socket of the host.
struct Row {
    address: IpAddr,
    port: u16,
    is_listening: bool,
    is_ending: bool,
    inode: u64,
}

/// What was found out so far.
#[derive(Default)]
pub(crate) struct Holders {
    until: Option<Instant>,
    tables: HashMap<Protocol, String>,
    /// Processes by the sockets that they have open.
    owners: Option<HashMap<u64, u32>>,
}

impl Holders {
    /// Who is in the way of a listener: `nginx (pid 123)`.
    pub(crate) fn of(&mut self, listener: &Listener) -> Option<String> {
        let until = *self.until.get_or_insert_with(|| Instant::now() + TIME);
        if Instant::now() >= until {
            return None;
        }
        let table = self.tables.entry(listener.protocol).or_insert_with(|| read_tables(listener.protocol));
        let rows = rows(table, listener.port).filter(|row| meets(listener.address, row.address));
        let row = rows.max_by_key(|row| (row.is_listening, !row.is_ending))?;
        if row.is_ending {
            return Some("a closed connection (TIME_WAIT)".to_owned());
        }
        let owners = self.owners.get_or_insert_with(|| read_owners(until));
        let pid = owners.get(&row.inode)?;
        let process = format!("{} (pid {pid})", name(*pid)?);
        Some(if row.is_listening { process } else { format!("a connection of {process}") })
    }
}

/// True if a socket on each could receive the same.
fn meets(listen: ListenAddress, other: IpAddr) -> bool {
    // A wildcard of IPv6 may be one of both families: the table does not say.
    (other.is_ipv6() && other.is_unspecified()) || listen.overlaps(ListenAddress::Ip(other.to_canonical()))
}

fn read_tables(protocol: Protocol) -> String {
    let mut text = String::new();
    for family in ["", "6"] {
        if let Ok(file) = File::open(format!("/proc/net/{protocol}{family}")) {
            // What was read before an error tells as much as it tells.
            _ = file.take(TABLE_BYTES).read_to_string(&mut text);
            text.push('\n');
        }
    }
    text
}

/// The sockets on a port. A table may have a million lines, so that only those with the port are looked at.
fn rows(table: &str, port: u16) -> impl Iterator<Item = Row> {
    let needle = format!(":{port:04X} ");
    let found = table.match_indices(&needle).filter_map(|(at, _)| {
        let start = table[..at].rfind('\n').map_or(0, |end| end + 1);
        let end = table[at..].find('\n').map_or(table.len(), |length| at + length);
        row(&table[start..end]).filter(|row| row.port == port)
    });
    found.collect::<Vec<_>>().into_iter()
}

/// A line such as `0: 0100007F:1F90 00000000:0000 0A 0:0 0:0 0 1000 0 54321`.
fn row(line: &str) -> Option<Row> {
    let fields: Vec<&str> = line.split_ascii_whitespace().take(10).collect();
    let (address, port) = fields.get(1)?.split_once(':')?;
    let state = *fields.get(3)?;
    Some(Row {
        address: address_of(address)?,
        port: u16::from_str_radix(port, 16).ok()?,
        is_listening: LISTENING.contains(&state),
        is_ending: state == ENDING,
        inode: fields.get(9)?.parse().ok()?,
    })
}

/// An address as words of this host's byte order.
fn address_of(hex: &str) -> Option<IpAddr> {
    let word = |at: usize| u32::from_str_radix(hex.get(at..at + 8)?, 16).ok().map(u32::to_ne_bytes);
    match hex.len() {
        8 => Some(Ipv4Addr::from(word(0)?).into()),
        32 => {
            let mut bytes = [0; 16];
            for (index, part) in bytes.chunks_exact_mut(4).enumerate() {
                part.copy_from_slice(&word(index * 8)?);
            }
            Some(Ipv6Addr::from(bytes).into())
        }
        _ => None,
    }
}

/// Which process has which socket, of those that this user may look at.
fn read_owners(until: Instant) -> HashMap<u64, u32> {
    let mut owners = HashMap::new();
    let Ok(processes) = fs::read_dir("/proc") else { return owners };
    let pids = processes.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    for pid in pids {
        let Ok(descriptors) = fs::read_dir(format!("/proc/{pid}/fd")) else { continue };
        for descriptor in descriptors.map_while(Result::ok) {
            if Instant::now() >= until {
                return owners;
            }
            let inode = fs::read_link(descriptor.path()).ok().and_then(|link| {
                let inode = link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?;
                inode.parse().ok()
            });
            // Of processes that share it, the first one: a parent before its children.
            if let Some(inode) = inode {
                owners.entry(inode).or_insert(pid);
            }
        }
    }
    owners
}

/// A process names itself as it likes.
fn name(pid: u32) -> Option<String> {
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
    let printable = |letter: char| if letter.is_ascii_graphic() || letter == ' ' { letter } else { '?' };
    Some(name.trim_end().chars().map(printable).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listener(protocol: Protocol, address: &str, port: u16) -> Listener {
        Listener { protocol, address: ListenAddress::parse(address).unwrap_or(ListenAddress::Any), port }
    }

    #[test]
    fn a_line_of_the_table_is_read() {
        let listening =
            row("   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000 0 54321 1 x")
                .expect("a socket");
        assert_eq!((listening.address, listening.port), (IpAddr::V4(Ipv4Addr::LOCALHOST), 8080));
        assert_eq!((listening.is_listening, listening.is_ending, listening.inode), (true, false, 54_321));
        let line = "1: 00000000000000000000000001000000:0050 0:0 06 0:0 0:0 0 0 0 0";
        let ending = row(line).expect("a socket");
        assert_eq!((ending.address, ending.port), (IpAddr::V6(Ipv6Addr::LOCALHOST), 80));
        assert!(ending.is_ending && !ending.is_listening);
        for line in ["", "sl local_address rem_address", "0: zz:1 0:0 0A", "0: 01:1 0:0 0A 0 0 0 0 0 1"] {
            assert!(row(line).is_none(), "{line}");
        }
    }

    #[test]
    fn the_process_that_listens_is_named() {
        let us = format!("(pid {})", std::process::id());
        let stream = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = stream.local_addr().unwrap().port();
        for address in ["*", "127.0.0.1", "0.0.0.0"] {
            let holder = Holders::default().of(&listener(Protocol::Tcp, address, port)).expect("it is held");
            assert!(holder.ends_with(&us) && !holder.starts_with("a connection"), "{holder}");
        }
        for address in ["127.0.0.2", "::1"] {
            assert_eq!(Holders::default().of(&listener(Protocol::Tcp, address, port)), None, "{address}");
        }
        let datagrams = std::net::UdpSocket::bind("[::]:0").unwrap();
        let port = datagrams.local_addr().unwrap().port();
        let holder = Holders::default().of(&listener(Protocol::Udp, "127.0.0.1", port)).expect("it is held");
        assert!(holder.ends_with(&us), "{holder}");
    }

    #[test]
    fn a_connection_and_one_that_is_ending_are_told_from_a_listener() {
        let peer = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let outgoing = std::net::TcpStream::connect(peer.local_addr().unwrap()).unwrap();
        let (accepted, from) = peer.accept().unwrap();
        let listener = listener(Protocol::Tcp, "*", from.port());
        let holder = Holders::default().of(&listener).expect("it is held");
        assert!(holder.starts_with("a connection of "), "{holder}");
        // The side that closes first waits.
        drop(outgoing);
        drop(accepted);
        assert_eq!(Holders::default().of(&listener).as_deref(), Some("a closed connection (TIME_WAIT)"));
    }
}
