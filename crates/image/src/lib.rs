//! Names to manifests to layers: load, save, tag, delete, prune.

#![forbid(unsafe_code)]
