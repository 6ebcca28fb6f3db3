//! A bundle becomes a process: the plan, the start path, exec, and the shim's protocol.

#![forbid(unsafe_code)]
