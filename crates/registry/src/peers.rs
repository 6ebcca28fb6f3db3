//! How many connections there are, of each address and of all.

use crate::limits::{CONNECTIONS, CONNECTIONS_PER_PEER};
use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
};

/// How many connections each address has.
#[derive(Clone, Debug, Default)]
pub(crate) struct Peers(Arc<Mutex<HashMap<IpAddr, usize>>>);

/// One connection, counted until it is dropped.
#[derive(Debug)]
pub(crate) struct Admitted {
    peers: Peers,
    address: IpAddr,
}

impl Peers {
    /// Counts one more; `None` where the address, or all together, have too many.
    pub(crate) fn admit(&self, address: IpAddr) -> Option<Admitted> {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if counts.values().sum::<usize>() >= CONNECTIONS {
            return None;
        }
        let count = counts.entry(address).or_default();
        if *count >= CONNECTIONS_PER_PEER {
            return None;
        }
        *count += 1;
        Some(Admitted { peers: self.clone(), address })
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        let mut counts = self.peers.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_so_many_connections() {
        let peers = Peers::default();
        let address: IpAddr = "192.0.2.1".parse().unwrap();
        let mut held: Vec<_> = (0..CONNECTIONS_PER_PEER - 1).map(|_| peers.admit(address).unwrap()).collect();
        held.push(peers.admit(address).expect("the last one that may"));
        assert!(peers.admit(address).is_none());
        assert!(peers.admit("192.0.2.2".parse().unwrap()).is_some());
        held.pop();
        assert!(peers.admit(address).is_some());
        drop(held);
        assert!(peers.0.lock().unwrap().is_empty());
    }
}
