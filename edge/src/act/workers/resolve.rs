//! From a target's name to its addresses, by the host's resolver. I/O.
//!
//! Keeps: names that do not answer take no thread from the rest of the edge.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

/// Lookups at once. The host's resolver blocks a thread for each, up to half a minute where no server answers; tokio
/// has 512 of them, and binding and storing need some.
const LOOKUPS: usize = 64;

pub(super) struct Resolver(Arc<Semaphore>);

impl Default for Resolver {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(LOOKUPS)))
    }
}

impl Resolver {
    /// The addresses of a name, at least one. Who gives up waiting leaves the lookup its place until it ends.
    pub(super) async fn resolve(&self, name: &Arc<str>, port: u16) -> io::Result<Vec<SocketAddr>> {
        let place = self.0.clone().acquire_owned().await.expect("the semaphore is never closed");
        let name = name.clone();
        let lookup = spawn_blocking(move || {
            let addresses = (&*name, port).to_socket_addrs().map(Vec::from_iter);
            drop(place);
            addresses
        });
        let addresses = lookup.await.map_err(io::Error::other)??;
        if addresses.is_empty() { Err(io::ErrorKind::NotFound.into()) } else { Ok(addresses) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_name_of_this_host_resolves_and_gives_its_place_back() {
        let resolver = Resolver::default();
        for _ in 0..=LOOKUPS {
            let addresses = resolver.resolve(&"localhost".into(), 80).await.unwrap();
            assert!(addresses.iter().all(|address| address.ip().is_loopback() && address.port() == 80));
        }
        assert_eq!(resolver.0.available_permits(), LOOKUPS);
    }
}
