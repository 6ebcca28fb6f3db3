//! The client against a registry that can misbehave.
