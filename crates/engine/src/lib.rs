//! One node: containers, exec, attach, events and recovery.

#![forbid(unsafe_code)]
