//! The API from a client's side, over memory.

mod answers;
mod limits;
mod streams;
mod support;
