//! Compiled filters by what they were compiled for.

use super::{Context, Profile, Program, compile_for};
use crate::caps::CapSet;
use rorqual_error::Result;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

/// More capability sets than this are not kept; a machine uses a handful.
const ENTRIES_MAX: usize = 256;

/// The programs of one profile: each is compiled once.
#[derive(Debug)]
pub struct Cache {
    profile: Profile,
    programs: Mutex<HashMap<(CapSet, bool), Arc<Program>>>,
}

impl Cache {
    /// Without any program yet.
    pub fn new(profile: Profile) -> Self {
        Self { profile, programs: Mutex::default() }
    }

    /// The profile.
    pub fn profile(&self) -> &Profile {
        &self.profile
    }

    /// The program for a container.
    pub fn program(&self, context: &Context) -> Result<Arc<Program>> {
        let key = (context.caps, context.foreign32);
        if let Some(program) = self.programs.lock().unwrap_or_else(PoisonError::into_inner).get(&key) {
            return Ok(Arc::clone(program));
        }
        // Two may compile the same at once; the second wins, and both are right.
        let program = Arc::new(compile_for(&self.profile.resolve(context)?, context.arch)?);
        let mut programs = self.programs.lock().unwrap_or_else(PoisonError::into_inner);
        if programs.len() >= ENTRIES_MAX {
            programs.clear();
        }
        programs.insert(key, Arc::clone(&program));
        Ok(program)
    }
}
