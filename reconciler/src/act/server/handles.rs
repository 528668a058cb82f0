//! What a server that has started tells of itself, and lends to others of its process. Pure, but for asking sockets where
//! they listen.

use std::io;
use std::net::SocketAddr;

#[cfg(feature = "testing")]
use guard::Supervisor;
use schema::canonical::Digest;

use super::{InProcess, Server};
use crate::act::driver::FleetHandle;
use crate::act::sessions::Sessions;
use crate::act::trust::registrar::TrustHandle;
use crate::act::wake::Wake;

impl Server {
    /// Where the control port listens, with the port that port 0 became.
    pub fn control_address(&self) -> io::Result<SocketAddr> {
        self.control.local_addr()
    }

    /// Where the operator API listens: the first address.
    pub fn operator_address(&self) -> io::Result<SocketAddr> {
        self.operator.first().ok_or(io::ErrorKind::NotFound)?.local_addr()
    }

    /// Where a browser finds the page: over loopback, if the port listens there.
    pub fn page_address(&self) -> String {
        self.config.operator.page_address(&self.operator_addresses())
    }

    /// What a browser's owner can compare the authority of the port's certificate with; `None` without TLS, and where an
    /// operator gave a certificate.
    pub fn page_pin(&self) -> Option<Digest> {
        let is_own = self.operator_tls.is_some() && self.config.operator.certificate.is_none();
        is_own.then(|| self.trust.authorities.borrow().current.pin)
    }

    /// Who is signed in to the page.
    pub fn sessions(&self) -> Sessions {
        self.sessions.clone()
    }

    /// All of its addresses.
    pub fn operator_addresses(&self) -> Vec<SocketAddr> {
        self.operator.iter().filter_map(|listener| listener.local_addr().ok()).collect()
    }

    /// Where metrics are served.
    pub fn metrics_address(&self) -> io::Result<SocketAddr> {
        self.metrics.local_addr()
    }

    /// The way in for an edge of the same process.
    pub fn in_process(&self) -> InProcess {
        self.connector.clone()
    }

    /// Makes the server look at what it follows at once.
    pub fn wake(&self) -> Wake {
        self.wake.clone()
    }

    /// True if a tree was applied before this start.
    pub fn has_revision(&self) -> bool {
        self.driver.has_revision()
    }

    /// Who may take part.
    pub fn trust(&self) -> TrustHandle {
        self.trust.clone()
    }

    /// `HOST:PORT` by which edges reach the control port; `None` where the server cannot know it.
    pub fn advertised(&self) -> Option<String> {
        if self.config.trust.advertise.is_some() {
            return self.config.trust.advertise.clone();
        }
        let address = self.control_address().ok()?;
        (!address.ip().is_unspecified()).then(|| address.to_string())
    }

    /// The fleet, to look at.
    pub fn fleet(&self) -> FleetHandle {
        self.fleet.clone()
    }

    /// What makes its parts panic: each by its name.
    #[cfg(feature = "testing")]
    pub fn supervisor(&self) -> Supervisor {
        self.supervisor.clone()
    }
}
