//! Fixtures: daemons in namespaces of their own, and images to run in them.

#![forbid(unsafe_code)]
