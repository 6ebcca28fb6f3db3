//! A pool of addresses: which are taken, and which comes next.
//!
//! The next free address after the last one given is chosen, so that one just given back rests while neighbours and
//! connection tracking forget who had it. (dockerd gives the lowest free one again at once.)

use std::{collections::BTreeSet, net::IpAddr};

/// Addresses of one family between two bounds.
#[derive(Clone, Debug)]
pub(crate) struct Pool {
    first: u128,
    last: u128,
    ipv4: bool,
    taken: BTreeSet<u128>,
    next: u128,
}

fn number(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(ip) => ip.to_bits().into(),
        IpAddr::V6(ip) => ip.to_bits(),
    }
}

impl Pool {
    /// The addresses from `first` to `last`, which are of one family and in this order.
    pub(crate) fn new(first: IpAddr, last: IpAddr) -> Self {
        let (from, to) = (number(first), number(last));
        Self { first: from, last: to, ipv4: first.is_ipv4(), taken: BTreeSet::new(), next: from }
    }

    /// The next free address; `None` where all are taken.
    pub(crate) fn take(&mut self) -> Option<IpAddr> {
        let free = self.free_from(self.next, self.last).or_else(|| self.free_before_next())?;
        self.taken.insert(free);
        self.next = if free < self.last { free + 1 } else { self.first };
        Some(if self.ipv4 { IpAddr::V4((free as u32).into()) } else { IpAddr::V6(free.into()) })
    }

    fn free_before_next(&self) -> Option<u128> {
        self.free_from(self.first, self.next.checked_sub(1)?)
    }

    /// The lowest address from `from` to `to` that is not taken.
    fn free_from(&self, from: u128, to: u128) -> Option<u128> {
        if from > to {
            return None;
        }
        let mut candidate = from;
        for taken in self.taken.range(from..=to) {
            if *taken != candidate {
                break;
            }
            candidate = candidate.checked_add(1)?;
        }
        (candidate <= to).then_some(candidate)
    }

    /// Takes this address; false where it is taken already. Addresses outside the bounds may be taken too: a gateway.
    pub(crate) fn reserve(&mut self, ip: IpAddr) -> bool {
        self.taken.insert(number(ip))
    }

    /// As [`Pool::reserve`] for a container found running: later ones come after it.
    pub(crate) fn adopt(&mut self, ip: IpAddr) -> bool {
        let number = number(ip);
        if (self.next..self.last).contains(&number) {
            self.next = number + 1;
        }
        self.taken.insert(number)
    }

    /// Gives an address back.
    pub(crate) fn release(&mut self, ip: IpAddr) {
        self.taken.remove(&number(ip));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pool(last: &str) -> Pool {
        Pool::new("10.0.0.1".parse().unwrap(), last.parse().unwrap())
    }

    #[test]
    fn an_address_given_back_rests() {
        let mut pool = pool("10.0.0.4");
        assert!(pool.reserve("10.0.0.1".parse().unwrap()));
        let mut take = || pool.take().map(|ip| ip.to_string());
        assert_eq!((take().as_deref(), take().as_deref()), (Some("10.0.0.2"), Some("10.0.0.3")));
        pool.release("10.0.0.2".parse().unwrap());
        let mut take = || pool.take().map(|ip| ip.to_string());
        assert_eq!((take().as_deref(), take().as_deref(), take()), (Some("10.0.0.4"), Some("10.0.0.2"), None));
    }

    #[test]
    fn a_pool_may_reach_the_end_of_the_family() {
        let mut pool = Pool::new("255.255.255.254".parse().unwrap(), "255.255.255.255".parse().unwrap());
        assert_eq!((pool.take().is_some(), pool.take().is_some(), pool.take().is_some()), (true, true, false));
        let mut pool = Pool::new("::".parse().unwrap(), "::".parse().unwrap());
        assert_eq!((pool.take(), pool.take()), (Some("::".parse().unwrap()), None));
    }

    proptest! {
        #[test]
        fn no_address_is_ever_given_twice(steps in prop::collection::vec(prop::option::of(0usize..20), 1..300)) {
            let mut pool = pool("10.0.0.16");
            let mut held: Vec<IpAddr> = Vec::new();
            for step in steps {
                match step {
                    None => match pool.take() {
                        Some(ip) => {
                            prop_assert!(!held.contains(&ip), "{ip} twice");
                            held.push(ip);
                        }
                        None => prop_assert_eq!(held.len(), 16),
                    },
                    Some(index) if !held.is_empty() => pool.release(held.swap_remove(index % held.len())),
                    Some(_) => {}
                }
            }
        }
    }
}
