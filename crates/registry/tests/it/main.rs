//! The registry over real HTTP: the four workflows of the distribution specification, and what holds besides.
//! `docs/registry-conformance.md` says which requirement is tested where.

mod access;
mod debian;
mod discovery;
mod fake;
mod flood;
mod kill;
mod management;
mod model;
mod objects;
mod proxy;
mod pull;
mod push;
mod restart;
mod support;
