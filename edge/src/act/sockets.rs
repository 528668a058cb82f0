//! Makes listening sockets. I/O, blocking for microseconds.
//!
//! Keeps: a listener that a stranger could share never outlives a switch; every error has its code.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use guard::InheritedSockets;
use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::{Ipv4PacketInfo, Ipv6RecvPacketInfo};
use rustix::io::Errno;
use schema::codes::RuleCode;
use schema::net::{ListenAddress, Listener, Protocol};
use socket2::{Domain, SockFilter, SockRef, Socket, Type};

use crate::act::holders::Holders;
use crate::act::interfaces;
use crate::decide::transition::RuleFailure;

/// Connections that may wait to be accepted; the kernel caps it at `net.core.somaxconn` (4096 by default).
const BACKLOG: i32 = 4096;
/// Bytes of datagrams that may wait on a listening socket, for all of its clients share it; the kernel caps it at
/// `net.core.rmem_max` and `wmem_max`, and takes the memory only while they wait.
const UDP_QUEUE: usize = 4 << 20;

/// Why a socket could not be bound.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct BindError {
    /// The code of CONTRACT §6.
    pub code: RuleCode,
    /// One sentence.
    pub message: String,
    listener: Listener,
    #[source]
    source: io::Error,
}

impl BindError {
    pub(crate) fn of(listener: &Listener, source: io::Error) -> Self {
        let port = listener.port;
        let (code, message) = match source.kind() {
            io::ErrorKind::AddrInUse => (RuleCode::PortInUse, format!("port {port} already bound")),
            io::ErrorKind::PermissionDenied => {
                (RuleCode::PermissionDenied, format!("binding port {port} is not permitted"))
            }
            io::ErrorKind::AddrNotAvailable => {
                (RuleCode::AddressNotAvailable, format!("address {} is not on this host", listener.address))
            }
            _ if source.raw_os_error() == Some(Errno::AFNOSUPPORT.raw_os_error()) => {
                (RuleCode::AddressNotAvailable, format!("this host cannot listen on {}", listener.address))
            }
            _ => (RuleCode::BindFailed, format!("binding port {port} failed: {source}")),
        };
        Self { code, message, listener: *listener, source }
    }

    /// What the rule is told, with who holds the port where that can be found out.
    pub(crate) fn told(self, holders: &mut Holders) -> RuleFailure {
        let holder = if self.code == RuleCode::PortInUse { holders.of(&self.listener) } else { None };
        let message = match holder {
            Some(holder) => format!("{} by {holder}", self.message),
            None => self.message,
        };
        RuleFailure { code: self.code, message, blocked_by: None }
    }
}

/// Binds a socket, without listening yet. `is_shared` allows another socket of this edge on the same port for
/// the time of a switch; [`set_shared`] takes it back.
pub fn bind(listener: &Listener, is_shared: bool) -> Result<Socket, BindError> {
    bind_as(listener, if is_shared { Sharing::Switch } else { Sharing::Past })
}

/// With whom a new socket may share its port.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sharing {
    /// With nobody.
    Alone,
    /// With former connections that are ending.
    Past,
    /// With another socket of this edge too.
    Switch,
}

fn bind_as(listener: &Listener, sharing: Sharing) -> Result<Socket, BindError> {
    let at = |ip| SocketAddr::new(ip, listener.port);
    let attempt = match listener.address {
        ListenAddress::Any => match bind_to(listener, at(listener.address.bind_ip()), false, sharing) {
            // The host has no IPv6: all addresses are the IPv4 ones.
            Err(error) if lacks_ipv6(&error) => {
                bind_to(listener, at(IpAddr::V4(Ipv4Addr::UNSPECIFIED)), false, sharing)
            }
            attempt => attempt,
        },
        ListenAddress::Ip(ip) => bind_to(listener, at(ip), true, sharing),
        ListenAddress::Scoped(scoped) => match interfaces::socket_address(&scoped, listener.port) {
            Some(address) => bind_to(listener, address, true, sharing),
            None => Err(io::ErrorKind::AddrNotAvailable.into()),
        },
    };
    attempt.map_err(|error| BindError::of(listener, error))
}

/// What came of holding a port beforehand.
pub enum Reservation {
    /// It is bound, and nobody else can bind it.
    Held(Socket),
    /// It can be bound, but not alone: former connections on it are ending (`TIME_WAIT`).
    Possible,
}

/// Lets nothing through.
const DROP_ALL: [SockFilter; 1] = [SockFilter::new(RETURN_CONSTANT, 0, 0, 0)];
/// `BPF_RET | BPF_K` of linux/bpf_common.h.
const RETURN_CONSTANT: u16 = 0x06;

/// Binds a port for later, so that no other process gets it meanwhile: neither listening nor taking datagrams. A TCP
/// socket that does not listen keeps others away only without SO_REUSEADDR, which [`take_up`] sets afterwards.
pub fn reserve(listener: &Listener) -> Result<Reservation, BindError> {
    if listener.protocol == Protocol::Udp {
        let socket = bind(listener, false)?;
        socket.attach_filter(&DROP_ALL).map_err(|error| BindError::of(listener, error))?;
        return Ok(Reservation::Held(socket));
    }
    match bind_as(listener, Sharing::Alone) {
        Ok(socket) => Ok(Reservation::Held(socket)),
        Err(error) if error.code == RuleCode::PortInUse => {
            let socket = bind(listener, false)?;
            // Two sockets can be bound to one port before either listens: only this finds every stranger.
            listen(listener, &socket).map(|()| Reservation::Possible)
        }
        Err(error) => Err(error),
    }
}

/// Makes a reserved socket one that can serve.
pub fn take_up(listener: &Listener, socket: &Socket) -> io::Result<()> {
    match listener.protocol {
        Protocol::Udp => socket.detach_filter(),
        Protocol::Tcp => socket.set_reuse_address(true),
    }
}

/// Starts to listen, where there is something to start: datagrams come as soon as a socket is bound. Two sockets can be bound to one port before either listens, so this finds strangers too.
pub fn listen(listener: &Listener, socket: &Socket) -> Result<(), BindError> {
    if listener.protocol == Protocol::Udp {
        return Ok(());
    }
    socket.listen(BACKLOG).map_err(|error| BindError::of(listener, error))
}

/// Allows or forbids another socket of this user on the same port. Linux remembers the address and user of the
/// last shared bind until the port is free: after an exchange, another process of this user that sets the option too
/// can still join on that address, and on any after an exchange to all addresses.
pub fn set_shared(socket: &SockRef<'_>, is_shared: bool) -> io::Result<()> {
    socket.set_reuse_port(is_shared)
}

fn bind_to(listener: &Listener, address: SocketAddr, is_one_family: bool, sharing: Sharing) -> io::Result<Socket> {
    if listener.protocol == Protocol::Udp {
        return bind_udp(address, is_one_family, sharing == Sharing::Switch);
    }
    let socket = Socket::new(Domain::for_address(address), Type::STREAM.nonblocking(), None)?;
    if address.is_ipv6() {
        socket.set_only_v6(is_one_family)?;
    }
    // A restart must not meet the TIME_WAIT of its former connections.
    socket.set_reuse_address(sharing != Sharing::Alone)?;
    if sharing == Sharing::Switch {
        socket.set_reuse_port(true)?;
    }
    prepare_tcp(&socket)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

/// Accepted connections inherit these on Linux: no system call per connection.
fn prepare_tcp(socket: &Socket) -> io::Result<()> {
    socket.set_tcp_nodelay(true)?;
    // Urgent bytes are passed on at their place, as RFC 6093 has it.
    socket.set_out_of_band_inline(true)
}

/// The socket of the service manager that a listener stands for, if there is one, as one of this edge.
pub(crate) fn inherited(sockets: &InheritedSockets, listener: &Listener) -> Option<Socket> {
    let ip = match listener.address {
        ListenAddress::Any => None,
        ListenAddress::Ip(ip) => Some(ip),
        // Which link such a socket is bound to is not known here.
        ListenAddress::Scoped(_) => return None,
    };
    let is_tcp = listener.protocol == Protocol::Tcp;
    let socket = sockets.take_for(is_tcp, ip, listener.port)?;
    let prepared = socket.set_nonblocking(true).and_then(|()| match listener.protocol {
        Protocol::Tcp => socket.set_reuse_address(true).and_then(|()| prepare_tcp(&socket)),
        Protocol::Udp => prepare_udp(&socket, listener.address.bind_ip(), ip.is_some()),
    });
    match prepared {
        Ok(()) => {
            tracing::info!(%listener, "a socket of the service manager is used");
            Some(socket)
        }
        Err(error) => {
            tracing::warn!(%listener, %error, "a socket of the service manager cannot be used, another one is made");
            None
        }
    }
}

/// Without SO_REUSEADDR, which lets two processes share a UDP port unnoticed.
fn bind_udp(address: SocketAddr, is_one_family: bool, is_shared: bool) -> io::Result<Socket> {
    let ip = address.ip();
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM.nonblocking(), None)?;
    if ip.is_ipv6() {
        socket.set_only_v6(is_one_family)?;
    }
    if is_shared {
        socket.set_reuse_port(true)?;
    }
    prepare_udp(&socket, ip, is_one_family)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

fn prepare_udp(socket: &Socket, ip: IpAddr, is_one_family: bool) -> io::Result<()> {
    if ip.is_unspecified() {
        // Which address a datagram came to, for its answer must come from there. Of a broadcast only the IPv4 option
        // tells an address that can answer, on a socket for both families too.
        if ip.is_ipv6() {
            setsockopt(socket, Ipv6RecvPacketInfo, &true)?;
        }
        if ip.is_ipv4() || !is_one_family {
            setsockopt(socket, Ipv4PacketInfo, &true)?;
        }
    }
    // Beyond the limit of the system the kernel takes what it may.
    socket.set_recv_buffer_size(UDP_QUEUE)?;
    socket.set_send_buffer_size(UDP_QUEUE)
}

fn lacks_ipv6(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::AddrNotAvailable || error.raw_os_error() == Some(Errno::AFNOSUPPORT.raw_os_error())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(address: ListenAddress, port: u16) -> Listener {
        Listener { protocol: Protocol::Tcp, address, port }
    }

    #[test]
    fn a_taken_port_is_named_and_a_missing_address_has_its_code() {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = taken.local_addr().unwrap().port();
        let error = bind(&tcp(ListenAddress::Any, port), false).unwrap_err();
        assert_eq!((error.code, error.to_string()), (RuleCode::PortInUse, format!("port {port} already bound")));
        let elsewhere = ListenAddress::Ip("192.0.2.1".parse().unwrap());
        assert_eq!(bind(&tcp(elsewhere, port), false).unwrap_err().code, RuleCode::AddressNotAvailable);
    }

    #[test]
    fn accepted_connections_inherit_what_matters_from_their_first_byte_on() {
        let listener = tcp(ListenAddress::Ip("127.0.0.1".parse().unwrap()), 0);
        let socket = bind(&listener, false).unwrap();
        listen(&listener, &socket).unwrap();
        socket.set_nonblocking(false).unwrap();
        let _client = std::net::TcpStream::connect(socket.local_addr().unwrap().as_socket().unwrap()).unwrap();
        let (accepted, _) = socket.accept().unwrap();
        assert_eq!(accepted.tcp_user_timeout().unwrap(), None);
        assert!(accepted.out_of_band_inline().unwrap());
        assert!(accepted.tcp_nodelay().unwrap() && !accepted.keepalive().unwrap());
    }

    #[test]
    fn a_port_that_an_outgoing_connection_holds_is_bound_already_for_as_long_as_it_waits() {
        let peer = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let outgoing = std::net::TcpStream::connect(peer.local_addr().unwrap()).unwrap();
        let (accepted, from) = peer.accept().unwrap();
        let taken = |address| {
            let listener = tcp(address, from.port());
            let error = bind(&listener, false).and_then(|socket| listen(&listener, &socket)).unwrap_err();
            assert_eq!(error.code, RuleCode::PortInUse);
            assert_eq!(error.to_string(), format!("port {} already bound", from.port()));
        };
        taken(ListenAddress::Any);
        taken(ListenAddress::Ip("127.0.0.1".parse().unwrap()));
        // The side that closes first waits: nobody holds a descriptor of it any more.
        drop(outgoing);
        drop(accepted);
        taken(ListenAddress::Any);
        taken(ListenAddress::Ip("127.0.0.1".parse().unwrap()));
    }

    #[test]
    fn a_udp_port_is_its_owners_alone_and_one_more_than_the_tcp_port_of_that_number() {
        let stream = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = stream.local_addr().unwrap().port();
        let udp = |address| Listener { protocol: Protocol::Udp, address, port };
        let here = udp(ListenAddress::Ip("127.0.0.1".parse().unwrap()));
        let socket = bind(&here, false).unwrap();
        assert!(!socket.reuse_address().unwrap());
        let error = bind(&udp(ListenAddress::Any), true).unwrap_err();
        assert_eq!((error.code, error.to_string()), (RuleCode::PortInUse, format!("port {port} already bound")));
        let rival = Socket::new(Domain::IPV4, Type::DGRAM, None).unwrap();
        rival.set_reuse_address(true).unwrap();
        let address: SocketAddr = ([127, 0, 0, 1], port).into();
        assert!(rival.bind(&address.into()).is_err());
    }

    #[test]
    fn all_addresses_take_ipv4_and_an_explicit_ipv6_wildcard_does_not() {
        let reserve = || std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let port = reserve();
        let any = tcp(ListenAddress::Any, port);
        let socket = bind(&any, false).unwrap();
        listen(&any, &socket).unwrap();
        std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();

        let only_v6 = tcp(ListenAddress::Ip("::".parse().unwrap()), reserve());
        let Ok(socket) = bind(&only_v6, false) else { return };
        listen(&only_v6, &socket).unwrap();
        assert!(std::net::TcpStream::connect(("127.0.0.1", only_v6.port)).is_err());
    }

    #[test]
    fn a_held_port_is_nobody_elses_whatever_options_they_set_and_serves_once_it_is_taken_up() {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        for address in [ListenAddress::Ip("127.0.0.1".parse().unwrap()), ListenAddress::Any] {
            let listener = tcp(address, port);
            let Reservation::Held(held) = reserve(&listener).unwrap() else { panic!("not held") };
            let rival = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
            rival.set_reuse_address(true).unwrap();
            rival.set_reuse_port(true).unwrap();
            let here: SocketAddr = ([127, 0, 0, 1], port).into();
            assert_eq!(rival.bind(&here.into()).unwrap_err().kind(), io::ErrorKind::AddrInUse);
            assert!(std::net::TcpStream::connect(here).is_err(), "nobody listens yet");
            take_up(&listener, &held).unwrap();
            listen(&listener, &held).unwrap();
            std::net::TcpStream::connect(here).unwrap();
            assert_eq!(reserve(&listener).err().map(|error| error.code), Some(RuleCode::PortInUse));
        }
    }

    #[test]
    fn a_held_udp_port_takes_nothing_until_it_is_taken_up() {
        let here =
            |port| Listener { protocol: Protocol::Udp, address: ListenAddress::Ip("127.0.0.1".parse().unwrap()), port };
        let port = std::net::UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let Reservation::Held(held) = reserve(&here(port)).unwrap() else { panic!("not held") };
        assert!(std::net::UdpSocket::bind(("127.0.0.1", port)).is_err());
        let client = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        client.send_to(b"early", ("127.0.0.1", port)).unwrap();
        take_up(&here(port), &held).unwrap();
        client.send_to(b"late", ("127.0.0.1", port)).unwrap();
        let taken: std::net::UdpSocket = held.into();
        let mut bytes = [0; 16];
        let length = taken.recv(&mut bytes).unwrap();
        assert_eq!(&bytes[..length], b"late");
    }

    #[test]
    fn a_port_whose_former_connections_are_ending_can_be_bound_and_not_be_held() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut client = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
        // The side that closes first waits.
        drop(listener.accept().unwrap());
        assert_eq!(io::Read::read(&mut client, &mut [0]).unwrap(), 0);
        drop((client, listener));
        let here = tcp(ListenAddress::Ip("127.0.0.1".parse().unwrap()), port);
        assert!(matches!(reserve(&here).unwrap(), Reservation::Possible));
    }
}
