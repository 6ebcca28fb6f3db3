//! Networks, endpoints, addresses and published ports on this host.

#![forbid(unsafe_code)]
