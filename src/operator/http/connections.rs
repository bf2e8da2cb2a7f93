//! The open connections of a server, and their limit.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::task::AbortHandle;

/// Maximum open connections of a server. Each costs a file descriptor and some kilobytes.
pub(super) const MAX_CONNECTIONS: usize = 128;

/// The open connections by number. A younger connection has a higher number.
#[derive(Debug, Default)]
pub(super) struct Connections(Mutex<Open>);

#[derive(Debug, Default)]
struct Open {
    next: u64,
    all: BTreeMap<u64, (IpAddr, AbortHandle)>,
}

impl Connections {
    /// Runs a connection in a task of its own. If [`MAX_CONNECTIONS`] are open, closes another one first: the oldest of
    /// the client that has the most. A client that opens many connections closes its own, and never those of the
    /// kubelet or of Prometheus.
    pub(super) fn run(self: &Arc<Self>, client: IpAddr, connection: impl Future<Output = ()> + Send + 'static) {
        let mut open = self.open();
        if open.all.len() >= MAX_CONNECTIONS
            && let Some(oldest) = oldest_of_busiest(open.all.iter().map(|(number, (client, _))| (*number, *client)))
            && let Some((_, task)) = open.all.remove(&oldest)
        {
            task.abort();
        }
        let number = open.next;
        open.next += 1;
        let connections = Arc::clone(self);
        // The task removes its entry only after the lock is released, and so after the entry was inserted.
        let task = tokio::spawn(async move {
            connection.await;
            connections.open().all.remove(&number);
        });
        open.all.insert(number, (network(client), task.abort_handle()));
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The first connection of the client with the most connections. Of two such clients, the one with the older
/// connection. `connections` are sorted by age, the oldest first.
fn oldest_of_busiest(connections: impl Iterator<Item = (u64, IpAddr)>) -> Option<u64> {
    let mut clients = BTreeMap::<IpAddr, (usize, u64)>::new();
    for (number, client) in connections {
        clients.entry(client).or_insert((0, number)).0 += 1;
    }
    clients.into_values().max_by_key(|(count, oldest)| (*count, u64::MAX - oldest)).map(|(_, oldest)| oldest)
}

/// The address by which a client is counted. One host may have all addresses of a /64 network of IPv6.
fn network(client: IpAddr) -> IpAddr {
    match client.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(number: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, number])
    }

    #[test]
    fn the_oldest_connection_of_the_busiest_client_is_closed() {
        for (clients, closed) in [
            (vec![], None),
            (vec![1], Some(0)),
            (vec![1, 2, 2], Some(1)),
            (vec![1, 1, 2, 2], Some(0)),
            (vec![3, 1, 2, 1, 2, 2], Some(2)),
        ] {
            let connections = clients.iter().enumerate().map(|(age, number)| (age as u64, client(*number)));
            assert_eq!(oldest_of_busiest(connections), closed, "{clients:?}");
        }
    }

    #[test]
    fn one_network_of_ipv6_is_one_client() {
        let of = |text: &str| text.parse().map(network).map_err(|error| format!("{text}: {error}"));
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:1"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_eq!(of("::ffff:10.0.0.1"), Ok(client(1)));
        assert_ne!(of("::ffff:10.0.0.1"), of("::ffff:10.0.0.2"));
    }

    #[tokio::test]
    async fn a_full_server_keeps_the_connections_of_other_clients() {
        let connections = Arc::new(Connections::default());
        connections.run(client(1), std::future::pending());
        for _ in 0..MAX_CONNECTIONS * 2 {
            connections.run(client(2), std::future::pending());
        }
        let numbers: Vec<u64> = connections.open().all.keys().copied().collect();
        assert_eq!(numbers.len(), MAX_CONNECTIONS);
        assert_eq!(numbers[..2], [0, MAX_CONNECTIONS as u64 + 2]);
    }

    #[tokio::test]
    async fn an_ended_connection_is_forgotten() {
        let connections = Arc::new(Connections::default());
        connections.run(client(1), std::future::ready(()));
        tokio::task::yield_now().await;
        assert!(connections.open().all.is_empty());
    }
}
