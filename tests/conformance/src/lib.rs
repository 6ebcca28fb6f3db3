//! Unmodified Docker clients drive rorquald.

#![forbid(unsafe_code)]
