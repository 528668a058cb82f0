//! A listening socket, as control and workers hold it. I/O.
//!
//! Keeps: it closes with its last holder; one that was exchanged attracts nothing new.

use std::num::NonZeroU32;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::{Arc, Weak};

use schema::net::{Listener, Protocol};
use socket2::{SockRef, Socket};

/// No interface has this index: Linux numbers them from 1 and refuses only negative ones here.
const NO_INTERFACE: NonZeroU32 = NonZeroU32::new(i32::MAX as u32).expect("not zero");

/// A listening socket that the workers can accept from.
#[derive(Clone)]
pub struct Acceptor(Arc<Socket>);

impl Acceptor {
    /// Takes a listening, non-blocking socket.
    pub fn new(socket: Socket) -> Self {
        Self(Arc::new(socket))
    }

    /// To be noticed by.
    pub(super) fn descriptor(&self) -> RawFd {
        self.0.as_raw_fd()
    }

    /// A trace of it that does not keep it open.
    pub(super) fn trace(&self) -> Weak<Socket> {
        Arc::downgrade(&self.0)
    }

    /// The socket of a trace, where it is open still.
    pub(super) fn of_trace(trace: &Weak<Socket>) -> Option<Self> {
        trace.upgrade().map(Self)
    }

    /// The socket, for its options.
    pub fn socket(&self) -> SockRef<'_> {
        SockRef::from(&*self.0)
    }
}

/// Hides a socket whose port another socket has too: bound to an interface that does not exist, it is found by no
/// new connection, while handshakes under way end in its queue. True if it shared its port.
pub(super) fn retire(listener: Listener, acceptor: &Acceptor) -> bool {
    let socket = acceptor.socket();
    if !socket.reuse_port().is_ok_and(|is_shared| is_shared) {
        return false;
    }
    // A datagram begins and ends with itself, and flows of this socket may have no other.
    if listener.protocol == Protocol::Udp {
        return false;
    }
    hide(&socket, listener);
    true
}

/// Binds a socket to an interface that does not exist: nothing new finds it.
pub(super) fn hide(socket: &SockRef<'_>, listener: Listener) {
    if let Err(error) = socket.bind_device_by_index_v4(Some(NO_INTERFACE)) {
        tracing::debug!(%listener, %error, "an exchanged socket attracts connections to its end");
    }
}
