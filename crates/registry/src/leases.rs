//! What pushes under way rely on.
//!
//! A client asks whether a blob is there, does not upload it where it is, and names it in a manifest later. Between the
//! two nothing refers to the blob, so what a client was told is there, or has just uploaded, is leased to its
//! repository. Leases live as long as pushes to that repository go on (each request of a push renews them all), and a
//! while longer. The first while after a start protects everything, since the leases of the time before are not kept.

use crate::{
    limits::{LEASE_MAX, LEASES},
    name::Repository,
};
use rorqual_types::Digest;
use std::{
    collections::{HashMap, HashSet},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::time::Instant;

/// The leases of all repositories.
#[derive(Debug)]
pub(crate) struct Leases {
    /// How long they outlive the push.
    length: Duration,
    /// Until when everything is protected.
    settled: Instant,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    repositories: HashMap<Repository, Leased>,
    count: usize,
    /// What was touched since a collection began.
    watched: Option<HashSet<Digest>>,
}

/// Notes what is touched while it lives; one at a time.
#[derive(Debug)]
pub(crate) struct Watch<'a>(&'a Leases);

impl Watch<'_> {
    /// Whether a push has touched `digest` since.
    pub(crate) fn saw(&self, digest: &Digest) -> bool {
        self.0.lock().watched.as_ref().is_some_and(|watched| watched.contains(digest))
    }
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        self.0.lock().watched = None;
    }
}

#[derive(Debug)]
struct Leased {
    /// The last sign of a push.
    active: Instant,
    digests: HashMap<Digest, Instant>,
}

/// What may not be collected now.
#[derive(Debug)]
pub(crate) enum Protected {
    /// Anything.
    All,
    /// These.
    These(HashSet<Digest>),
}

#[cfg(test)]
impl Protected {
    pub(crate) fn has(&self, digest: &Digest) -> bool {
        match self {
            Self::All => true,
            Self::These(digests) => digests.contains(digest),
        }
    }
}

impl Leases {
    pub(crate) fn new(length: Duration, at_start: Duration) -> Self {
        Self { length, settled: Instant::now() + at_start, state: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A push to `repository` relies on `digests`.
    pub(crate) fn touch(&self, repository: &Repository, digests: &[Digest]) {
        let now = Instant::now();
        let mut guard = self.lock();
        let state = &mut *guard;
        let leased = match state.repositories.get_mut(repository) {
            Some(leased) => leased,
            None => {
                let leased = Leased { active: now, digests: HashMap::new() };
                state.repositories.entry(repository.clone()).or_insert(leased)
            }
        };
        leased.active = now;
        let before = leased.digests.len();
        leased.digests.extend(digests.iter().map(|digest| (*digest, now)));
        let added = leased.digests.len() - before;
        state.count += added;
        if let Some(watched) = &mut state.watched {
            watched.extend(digests);
        }
    }

    /// Notes from now on what is touched.
    pub(crate) fn watch(&self) -> Watch<'_> {
        self.lock().watched = Some(HashSet::new());
        Watch(self)
    }

    /// Whether so many are kept that nothing may be collected.
    fn full(state: &State) -> bool {
        state.count > LEASES
    }

    /// What is leased to `repository`.
    pub(crate) fn of(&self, repository: &Repository) -> Protected {
        self.protected(|name| name == repository)
    }

    /// What is leased to any.
    pub(crate) fn of_all(&self) -> Protected {
        self.protected(|_| true)
    }

    fn protected(&self, which: impl Fn(&Repository) -> bool) -> Protected {
        let now = Instant::now();
        let mut state = self.lock();
        self.end_old(&mut state, now);
        if Self::full(&state) || now < self.settled {
            return Protected::All;
        }
        let chosen = state.repositories.iter().filter(|(name, _)| which(name));
        Protected::These(chosen.flat_map(|(_, leased)| leased.digests.keys().copied()).collect())
    }

    fn end_old(&self, state: &mut State, now: Instant) {
        state.repositories.retain(|_, leased| {
            let alive = now - leased.active < self.length;
            leased.digests.retain(|_, touched| alive && now - *touched < LEASE_MAX);
            alive
        });
        state.count = state.repositories.values().map(|leased| leased.digests.len()).sum();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn digest(n: u8) -> Digest {
        Digest::from_bytes([n; 32])
    }

    #[tokio::test(start_paused = true)]
    async fn a_lease_lives_as_long_as_the_push_goes_on() {
        let leases = Leases::new(HOUR, HOUR);
        let (a, b) = (Repository::parse("a").unwrap(), Repository::parse("b").unwrap());
        assert!(leases.of(&a).has(&digest(9)), "everything is protected after the start");
        tokio::time::advance(HOUR).await;
        assert!(!leases.of(&a).has(&digest(9)));
        leases.touch(&a, &[digest(1)]);
        for _ in 0..10 {
            tokio::time::advance(HOUR / 2).await;
            leases.touch(&a, &[]);
        }
        assert!(leases.of(&a).has(&digest(1)));
        assert!(!leases.of(&b).has(&digest(1)));
        assert!(leases.of_all().has(&digest(1)));
        tokio::time::advance(HOUR).await;
        assert!(!leases.of(&a).has(&digest(1)));
        assert!(leases.lock().repositories.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn no_lease_lives_for_ever() {
        let leases = Leases::new(HOUR, Duration::ZERO);
        let a = Repository::parse("a").unwrap();
        leases.touch(&a, &[digest(1)]);
        for _ in 0..49 {
            tokio::time::advance(HOUR / 2).await;
            leases.touch(&a, &[]);
        }
        assert!(!leases.of(&a).has(&digest(1)));
    }
}
