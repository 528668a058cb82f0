//! Listening sockets that the service manager opened for this process (`LISTEN_FDS`). I/O.
//!
//! A socket is found by its protocol and address; its name means nothing. Each part takes the sockets that it needs;
//! what nobody takes is closed once it is known what is needed.
//!
//! Keeps: descriptors that were meant for another process are not touched; no socket is taken twice; a child process
//! inherits none.

use std::env;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, PoisonError};

use listenfd::ListenFd;
use socket2::{Socket, Type};

/// More than any unit names: what claims more is not from a service manager.
const MOST: usize = 4096;

#[derive(Debug)]
struct Inherited {
    socket: Socket,
    is_tcp: bool,
    address: SocketAddr,
    is_ipv6_only: bool,
}

/// The sockets that nobody has taken yet. Clones share them; the lock is held for the time of a search.
#[derive(Debug, Clone, Default)]
pub struct InheritedSockets(Arc<Mutex<Vec<Inherited>>>);

impl InheritedSockets {
    /// Those of this process. To be called before anything else opens descriptors or starts threads.
    pub fn from_env() -> Self {
        let pid = env::var("LISTEN_PID").ok().and_then(|pid| pid.parse::<u32>().ok());
        let count = env::var("LISTEN_FDS").ok().and_then(|count| count.parse::<usize>().ok());
        if pid != Some(std::process::id()) || count.is_none_or(|count| count > MOST) {
            return Self::default();
        }
        let mut descriptors = ListenFd::from_env();
        let all = (0..descriptors.len()).filter_map(|index| take(&mut descriptors, index).and_then(described));
        Self(Arc::new(Mutex::new(all.collect())))
    }

    /// The TCP socket that listens there.
    pub fn take_tcp(&self, address: SocketAddr) -> io::Result<Option<TcpListener>> {
        let Some(socket) = self.take(|one| one.is_tcp && one.address == address) else { return Ok(None) };
        socket.set_nonblocking(true)?;
        Ok(Some(socket.into()))
    }

    /// The socket of a rule: on this address, or on all addresses of both families where that is `None`.
    pub fn take_for(&self, is_tcp: bool, ip: Option<IpAddr>, port: u16) -> Option<Socket> {
        self.take(|one| {
            let is_there = match ip {
                Some(ip) if ip.is_unspecified() && ip.is_ipv6() => one.address.ip() == ip && one.is_ipv6_only,
                Some(ip) => one.address.ip() == ip,
                None => one.address.is_ipv6() && one.address.ip().is_unspecified() && !one.is_ipv6_only,
            };
            one.is_tcp == is_tcp && one.address.port() == port && is_there
        })
    }

    /// Closes what nobody took; `ADDRESS:PORT/PROTOCOL` of each.
    pub fn close_rest(&self) -> Vec<String> {
        let rest = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        rest.iter().map(|one| format!("{}/{}", one.address, if one.is_tcp { "tcp" } else { "udp" })).collect()
    }

    fn take(&self, is_it: impl Fn(&Inherited) -> bool) -> Option<Socket> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let index = all.iter().position(is_it)?;
        Some(all.swap_remove(index).socket)
    }
}

/// Closes what nobody needs of them, and logs it.
pub fn close_unmatched(sockets: &InheritedSockets) {
    for socket in sockets.close_rest() {
        tracing::warn!(socket, "a socket of the service manager matches no port of this process and no rule: closed");
    }
}

/// The socket of a descriptor, which no child inherits from now on. One that is neither TCP nor UDP is closed.
fn take(descriptors: &mut ListenFd, index: usize) -> Option<Socket> {
    if let Ok(Some(listener)) = descriptors.take_tcp_listener(index) {
        return Some(listener.into());
    }
    if let Ok(Some(socket)) = descriptors.take_udp_socket(index) {
        return Some(socket.into());
    }
    // Taken to be closed.
    drop(descriptors.take_unix_listener(index));
    drop(descriptors.take_unix_datagram(index));
    None
}

fn described(socket: Socket) -> Option<Inherited> {
    let address = socket.local_addr().ok()?.as_socket()?;
    let is_tcp = socket.r#type().ok()? == Type::STREAM;
    let is_ipv6_only = address.is_ipv6() && socket.only_v6().unwrap_or(true);
    Some(Inherited { socket, is_tcp, address, is_ipv6_only })
}

#[cfg(test)]
mod tests {
    use socket2::Domain;

    use super::*;

    fn bound(address: &str, kind: Type, is_ipv6_only: bool) -> (Inherited, u16) {
        let address: SocketAddr = address.parse().expect("an address");
        let socket = Socket::new(Domain::for_address(address), kind, None).expect("a socket");
        if address.is_ipv6() {
            socket.set_only_v6(is_ipv6_only).expect("set");
        }
        socket.bind(&address.into()).expect("bound");
        let port = socket.local_addr().expect("bound").as_socket().expect("an IP socket").port();
        (described(socket).expect("described"), port)
    }

    #[test]
    fn a_socket_is_found_by_protocol_and_address_and_once() {
        let (tcp, tcp_port) = bound("127.0.0.1:0", Type::STREAM, false);
        let (udp, udp_port) = bound("127.0.0.1:0", Type::DGRAM, false);
        let (any, any_port) = bound("[::]:0", Type::STREAM, false);
        let (six, six_port) = bound("[::]:0", Type::STREAM, true);
        let all = InheritedSockets(Arc::new(Mutex::new(vec![tcp, udp, any, six])));
        let loopback: IpAddr = [127, 0, 0, 1].into();
        let unspecified: IpAddr = "::".parse().expect("an address");
        assert!(all.take_for(false, Some(loopback), tcp_port).is_none(), "another protocol");
        assert!(all.take_for(true, None, tcp_port).is_none(), "another address");
        assert!(all.take_for(true, Some(unspecified), any_port).is_none(), "it takes IPv4, which was not asked for");
        assert!(all.take_for(true, None, six_port).is_none(), "it does not take IPv4");
        assert!(all.take_tcp(([127, 0, 0, 1], tcp_port).into()).expect("usable").is_some());
        assert!(all.take_tcp(([127, 0, 0, 1], tcp_port).into()).expect("usable").is_none(), "it is taken");
        assert!(all.take_for(true, None, any_port).is_some());
        assert!(all.take_for(false, Some(loopback), udp_port).is_some());
        assert_eq!(all.close_rest(), [format!("[::]:{six_port}/tcp")]);
        assert!(all.close_rest().is_empty());
    }
}
