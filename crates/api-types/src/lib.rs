//! The Docker API's JSON, field for field; no behaviour.

#![forbid(unsafe_code)]
