//! The data root of a stopped dockerd, read: images of the overlay2 graph driver and of its containerd store, volumes, and
//! the definitions of containers, as typed objects that another engine can be given. Nothing is ever written there; files
//! are trusted as far as digests, bounds and limits confirm them. It knows no engine and no route: what becomes of the
//! objects is the caller's.

#![forbid(unsafe_code)]

mod bolt;
mod compare;
mod container;
mod containerd;
mod copy;
mod definition;
mod found;
mod hash;
mod image;
pub mod limits;
mod overlay;
mod root;
mod source;
mod split;
mod volume;

pub use container::{Container, in_order};
pub use found::Found;
pub use image::Image;
pub use source::Source;
pub use volume::{There, Volume};
