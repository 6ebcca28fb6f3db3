//! Volumes and their drivers: of these there is one, `local`.
//!
//! A volume is a directory `ROOT/NAME/_data` and a record. Which containers use a volume is told by whoever owns
//! containers ([`Volumes::create_for`], [`Volumes::acquire`], [`Volumes::release`]); it is kept in memory and told anew
//! after a restart, from the containers' own records, so it cannot drift from them.

#![forbid(unsafe_code)]

mod copy;
mod filter;
mod limits;
mod options;
mod tree;
mod volume;
mod volumes;

pub use volume::{CreateVolume, Volume};
pub use volumes::{Pruned, Volumes};
