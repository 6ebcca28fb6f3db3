//! The default bridge on a real kernel: every test in network namespaces of its own, as root.
//!
//! A "machine" is a namespace with an outside neighbour one link away; containers are further namespaces. Nothing here
//! touches the machine the tests run on, and each test looks for residue at its end.

mod ports;
mod recovery;
mod rules;
mod world;
