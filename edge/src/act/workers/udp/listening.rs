//! The listening sockets of one worker: taken over, exchanged, released. I/O.
//!
//! Keeps: a released socket takes no new clients, and is closed with its last flow; where another socket covers the
//! address that a flow came to, the flow goes on through that one.

use std::collections::HashMap;
use std::collections::VecDeque;
use std::net::IpAddr;

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::UdpGroSegment;
use schema::net::{ListenAddress, Listener};

use super::super::acceptor::{Acceptor, hide};
use super::super::context::Context;
use super::super::slab::{Key, Slab};
use super::sender::{self, From};
use super::slots::{Family, ReceiveOptions};
use super::{DatagramBuffers, LISTENING, MARK, Udp};

/// One listening socket.
pub(super) struct ListeningSocket {
    pub(super) listener: Listener,
    pub(super) acceptor: Acceptor,
    pub(super) asked: ReceiveOptions,
    /// The kernel takes pieces apart.
    pub(super) can_segment: bool,
    /// No new clients: it is open for its flows.
    pub(super) is_leaving: bool,
    /// Flows whose replies leave from it.
    flows: usize,
    is_ready: bool,
}

impl ListeningSocket {
    /// The address that replies leave from, where the socket has several.
    pub(super) fn from(&self, local: IpAddr) -> Option<From> {
        self.asked.local.then_some(From { family: self.asked.family, local })
    }

    /// Its one address, if it has one.
    pub(super) fn address(&self) -> Option<IpAddr> {
        match self.listener.address {
            ListenAddress::Ip(ip) if !ip.is_unspecified() => Some(ip.to_canonical()),
            ListenAddress::Scoped(scoped) => Some(scoped.ip().into()),
            ListenAddress::Ip(_) | ListenAddress::Any => None,
        }
    }

    fn covers(&self, local: IpAddr) -> bool {
        match self.listener.address {
            ListenAddress::Any => true,
            ListenAddress::Ip(ip) if ip.is_unspecified() => ip.is_ipv4() == local.is_ipv4(),
            ListenAddress::Ip(ip) => ip.to_canonical() == local,
            ListenAddress::Scoped(scoped) => IpAddr::V6(scoped.ip()) == local,
        }
    }

    /// From now on its datagrams are put together on their way in: many come at once.
    pub(super) fn join(&mut self) {
        if !self.asked.pieces && setsockopt(&*self.acceptor.socket(), UdpGroSegment, &true).is_ok() {
            self.asked.pieces = true;
        }
    }
}

/// The listening sockets of one worker.
#[derive(Default)]
pub(super) struct Sockets {
    all: Slab<ListeningSocket>,
    by_port: HashMap<u16, Vec<Key>>,
    /// Those that may have datagrams waiting.
    ready: VecDeque<Key>,
}

impl Sockets {
    pub(super) fn note(&mut self, key: Key) {
        if let Some(listening) = self.all.get_mut(key).filter(|listening| !listening.is_ready) {
            listening.is_ready = true;
            self.ready.push_back(key);
        }
    }

    pub(super) fn is_busy(&self) -> bool {
        !self.ready.is_empty()
    }

    pub(super) fn get(&mut self, key: Key) -> Option<&mut ListeningSocket> {
        self.all.get_mut(key)
    }

    /// Those that have their turn now.
    pub(super) fn waiting(&self) -> usize {
        self.ready.len()
    }

    pub(super) fn next(&mut self) -> Option<Key> {
        let key = self.ready.pop_front()?;
        self.all.get_mut(key)?.is_ready = false;
        Some(key)
    }

    fn find(&mut self, is_it: impl Fn(&ListeningSocket) -> bool, port: u16) -> Option<Key> {
        let keys = self.by_port.get(&port)?;
        keys.iter().copied().find(|key| self.all.get_mut(*key).is_some_and(|one| is_it(one)))
    }

    /// A flow goes through this socket from now on.
    pub(super) fn joined(&mut self, key: Key) {
        if let Some(listening) = self.all.get_mut(key) {
            listening.flows += 1;
        }
    }

    /// A flow does not go through it any more.
    pub(super) fn left(&mut self, key: Key, registry: &Registry) {
        if let Some(listening) = self.all.get_mut(key) {
            listening.flows -= 1;
        }
        self.close_if_done(key, registry);
    }

    fn close_if_done(&mut self, key: Key, registry: &Registry) {
        if self.all.get_mut(key).is_none_or(|listening| !listening.is_leaving || listening.flows > 0) {
            return;
        }
        let Some(listening) = self.all.remove(key) else { return };
        let port = listening.listener.port;
        if let Some(keys) = self.by_port.get_mut(&port) {
            keys.retain(|other| *other != key);
            if keys.is_empty() {
                self.by_port.remove(&port);
            }
        }
        // Whoever holds it too may be about to hand it back.
        if let Err(error) = registry.deregister(&mut SourceFd(&listening.acceptor.descriptor())) {
            tracing::debug!(listener = %listening.listener, %error, "a socket stays registered");
        }
    }

    fn insert(&mut self, listener: Listener, acceptor: Acceptor, registry: &Registry) -> std::io::Result<Key> {
        let is_v4 = acceptor.socket().local_addr()?.is_ipv4();
        let local = match listener.address {
            ListenAddress::Any => true,
            ListenAddress::Ip(ip) => ip.is_unspecified(),
            ListenAddress::Scoped(_) => false,
        };
        let family = match listener.address {
            _ if is_v4 => Family::V4,
            ListenAddress::Any => Family::Both,
            ListenAddress::Ip(_) | ListenAddress::Scoped(_) => Family::V6,
        };
        let asked = ReceiveOptions { family, local, pieces: false };
        let can_segment = sender::can_segment(&*acceptor.socket());
        let descriptor = acceptor.descriptor();
        let key = self.all.insert_with(|_| ListeningSocket {
            listener,
            acceptor,
            asked,
            can_segment,
            is_leaving: false,
            flows: 0,
            is_ready: false,
        });
        self.by_port.entry(listener.port).or_default().push(key);
        let token = Token(MARK | LISTENING | key.pack(0));
        registry.register(&mut SourceFd(&descriptor), token, Interest::READABLE)?;
        Ok(key)
    }
}

impl Udp {
    /// Receives from this socket from now on. One that was released and still has flows is taken back; flows of others
    /// leave through this one where it covers their address.
    pub(in super::super) fn adopt(&mut self, listener: Listener, acceptor: Acceptor, context: &mut Context) {
        self.tools.get_or_insert_with(|| Box::new(DatagramBuffers::new()));
        if let Some(key) = self.sockets.find(|one| one.is_leaving && one.listener == listener, listener.port) {
            if let Some(listening) = self.sockets.get(key) {
                listening.is_leaving = false;
            }
            return;
        }
        if let Err(error) = self.sockets.insert(listener, acceptor, context.registry()) {
            tracing::error!(%listener, %error, "datagrams cannot be watched");
            return;
        }
        // Those of its flows whose address the new one does not cover go on through the old one until they end.
        let leaving: Vec<Key> = self.sockets.by_port.get(&listener.port).cloned().unwrap_or_default();
        for old in leaving {
            if self.sockets.get(old).is_some_and(|one| one.is_leaving && one.listener.conflicts_with(&listener)) {
                self.hand_over(old, context);
                self.sockets.close_if_done(old, context.registry());
            }
        }
    }

    /// Takes in what waits on this socket, and leaves it to its flows.
    pub(in super::super) fn release(&mut self, listener: Listener, context: &mut Context) {
        let is_it = |one: &ListeningSocket| !one.is_leaving && one.listener == listener;
        let Some(key) = self.sockets.find(is_it, listener.port) else { return };
        if let Some(listening) = self.sockets.get(key) {
            listening.is_leaving = true;
        }
        self.hide(key);
        if let Some(mut tools) = self.tools.take() {
            while self.receive(key, &mut tools, context) {}
            self.tools = Some(tools);
        }
        self.hand_over(key, context);
        self.sockets.close_if_done(key, context.registry());
    }

    /// Keeps datagrams away from a socket whose one address another one covers already, so that none is lost between
    /// the last look at its queue and its end.
    fn hide(&mut self, key: Key) {
        let Some(listening) = self.sockets.get(key) else { return };
        let (acceptor, listener) = (listening.acceptor.clone(), listening.listener);
        let Some(local) = listening.address() else { return };
        if self.sockets.find(|one| !one.is_leaving && one.covers(local), listener.port).is_some() {
            hide(&acceptor.socket(), listener);
        }
    }

    /// Lets flows of a socket that goes leave through others on its port that cover their addresses.
    fn hand_over(&mut self, old: Key, context: &Context) {
        let Some(port) = self.sockets.get(old).map(|listening| listening.listener.port) else { return };
        let heirs = self.sockets.by_port.get(&port).is_some_and(|keys| keys.len() > 1);
        if !heirs {
            return;
        }
        let flows: Vec<(Key, IpAddr)> = self
            .flows
            .iter()
            .filter(|(_, flow)| flow.listening == old)
            .map(|(key, flow)| (key, flow.id.local))
            .collect();
        for (key, local) in flows {
            let Some(heir) = self.sockets.find(|one| !one.is_leaving && one.covers(local), port) else { continue };
            if let Some(flow) = self.flows.get_mut(key) {
                flow.listening = heir;
                self.sockets.joined(heir);
                self.sockets.left(old, context.registry());
            }
        }
    }

    /// The socket that a new client's datagram is taken in for: the one that it came through, or one that has taken its
    /// place.
    pub(super) fn heir(&mut self, key: Key, local: IpAddr) -> Option<Key> {
        let listening = self.sockets.get(key)?;
        if !listening.is_leaving {
            return Some(key);
        }
        let port = listening.listener.port;
        self.sockets.find(|one| !one.is_leaving && one.covers(local), port)
    }
}
