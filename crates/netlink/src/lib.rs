//! Links, addresses, routes and nftables over netlink: carries messages, decides nothing.

#![forbid(unsafe_code)]
