//! How many connections each address has open: no more than its share.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::client_address::ClientAddress;

/// Connections by address.
#[derive(Debug, Clone)]
pub struct PerAddress {
    open: Arc<Mutex<HashMap<ClientAddress, usize>>>,
    max: usize,
}

/// A connection's place among those of its address.
#[derive(Debug)]
pub struct Place {
    address: ClientAddress,
    of: PerAddress,
}

impl PerAddress {
    /// Room for `max` connections of every address.
    pub fn new(max: usize) -> Self {
        Self { open: Arc::default(), max }
    }

    /// A place for one more, until it is dropped. None when the address has its share.
    pub fn enter(&self, address: ClientAddress) -> Option<Place> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let count = open.entry(address).or_default();
        if *count >= self.max {
            return None;
        }
        *count += 1;
        Some(Place { address, of: self.clone() })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.of.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = open.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> ClientAddress {
        ClientAddress::of(text.parse().unwrap())
    }

    #[test]
    fn a_network_of_ipv6_shares_what_an_address_of_ipv4_has_alone() {
        let open = PerAddress::new(2);
        let mut places: Vec<_> = ["2001:db8::1", "2001:db8::ffff:1"].iter().map(|text| open.enter(address(text)).unwrap()).collect();
        assert!(open.enter(address("2001:db8::2")).is_none(), "a third one of the same /64");
        places.extend(["2001:db8:0:1::1", "192.0.2.1", "192.0.2.2", "192.0.2.1"].iter().map(|text| open.enter(address(text)).unwrap()));
        assert!(open.enter(address("::ffff:192.0.2.1")).is_none(), "the same address, written for IPv6");
        places.remove(0);
        let again = open.enter(address("2001:db8::3")).expect("room again");
        drop((places, again));
        assert!(open.open.lock().unwrap().is_empty(), "who has left is forgotten");
    }
}
