//! The system call filters of containers, compiled once for each profile and set of capabilities.

use crate::spec::{self, SeccompChoice, Security};
use rorqual_api_types::container::HostConfig;
use rorqual_error::{Context as _, Result};
use rorqual_linux::seccomp::{Cache, Context, Profile, Program};
use rorqual_oci::runtime::Seccomp;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

/// Profiles of containers kept compiled; beyond, all are forgotten.
const CUSTOM_MAX: usize = 32;

/// Compiled filters.
#[derive(Debug)]
pub(crate) struct Filters {
    builtin: Arc<Cache>,
    /// The daemon's own (`--seccomp-profile`); `None` is unconfined.
    default: Option<Arc<Cache>>,
    /// Those that containers brought, by their text.
    custom: Mutex<HashMap<String, Arc<Cache>>>,
}

impl Filters {
    /// Filters for containers of an engine with this configuration.
    pub fn new(config: &crate::EngineConfig) -> Result<Self> {
        let builtin = Arc::new(Cache::new(Profile::builtin()));
        let default = match config.seccomp_profile.as_deref() {
            None | Some("" | "builtin") => Some(Arc::clone(&builtin)),
            Some("unconfined") => None,
            Some(path) => {
                let text = std::fs::read(path).with_context(|| format!("opening seccomp profile ({path}) failed"))?;
                Some(Arc::new(Cache::new(Profile::parse(&text)?)))
            }
        };
        Ok(Self { builtin, default, custom: Mutex::default() })
    }

    /// The filter a container's processes run under; `None` is no filter.
    pub fn program(&self, host: &HostConfig) -> Result<Option<Arc<Program>>> {
        let context = Context::here(spec::capabilities(host)?);
        self.choose(host)?.map(|cache| cache.program(&context)).transpose()
    }

    /// The same rules for a runtime of others.
    pub fn document(&self, host: &HostConfig) -> Result<Option<Seccomp>> {
        let context = Context::here(spec::capabilities(host)?);
        let Some(cache) = self.choose(host)? else { return Ok(None) };
        if Arc::ptr_eq(&cache, &self.builtin) {
            return Profile::builtin_for_libseccomp().resolve(&context).map(Some);
        }
        cache.profile().resolve(&context).map(Some)
    }

    /// The profile: a privileged container has one only if it names one.
    fn choose(&self, host: &HostConfig) -> Result<Option<Arc<Cache>>> {
        let security = Security::parse(host.security_opt.as_deref().unwrap_or_default())?;
        Ok(match security.seccomp {
            SeccompChoice::Unconfined => None,
            SeccompChoice::Default if host.privileged => None,
            SeccompChoice::Default => self.default.clone(),
            SeccompChoice::Builtin => Some(Arc::clone(&self.builtin)),
            SeccompChoice::Profile(text) => Some(self.custom(text)?),
        })
    }

    fn custom(&self, text: String) -> Result<Arc<Cache>> {
        if let Some(cache) = self.custom.lock().unwrap_or_else(PoisonError::into_inner).get(&text) {
            return Ok(Arc::clone(cache));
        }
        let cache = Arc::new(Cache::new(Profile::parse(text.as_bytes())?));
        let mut custom = self.custom.lock().unwrap_or_else(PoisonError::into_inner);
        if custom.len() >= CUSTOM_MAX {
            custom.clear();
        }
        custom.insert(text, Arc::clone(&cache));
        Ok(cache)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filters(default: Option<&str>) -> Filters {
        let mut config = crate::EngineConfig::new("/data", "/run", "/shim");
        config.seccomp_profile = default.map(str::to_owned);
        Filters::new(&config).unwrap()
    }

    fn host(options: &[&str], privileged: bool) -> HostConfig {
        let options = options.iter().map(|option| (*option).to_owned()).collect();
        HostConfig { security_opt: Some(options), privileged, ..HostConfig::default() }
    }

    #[test]
    fn which_filter() {
        const CUSTOM: &str = r#"seccomp={"defaultAction":"SCMP_ACT_ALLOW"}"#;
        let builtin = filters(None).program(&host(&[], false)).unwrap();
        assert!(builtin.is_some());
        for (default, options, privileged, filtered) in [
            (None, &[][..], true, false),
            (None, &["seccomp=unconfined"], false, false),
            (None, &[CUSTOM], false, true),
            (None, &[CUSTOM], true, true),
            (Some("unconfined"), &[], false, false),
            (Some("unconfined"), &["seccomp=builtin"], false, true),
        ] {
            let host = host(options, privileged);
            let filters = filters(default);
            assert_eq!(filters.program(&host).unwrap().is_some(), filtered, "{default:?} {options:?}");
            assert_eq!(filters.document(&host).unwrap().is_some(), filtered, "{default:?} {options:?}");
        }
    }

    #[test]
    fn a_profile_is_compiled_once() {
        let filters = filters(None);
        let host = host(&[r#"seccomp={"defaultAction":"SCMP_ACT_ALLOW"}"#], false);
        let first = filters.program(&host).unwrap().unwrap();
        assert!(Arc::ptr_eq(&first, &filters.program(&host).unwrap().unwrap()));
    }

    #[test]
    fn a_wrong_profile_is_refused() {
        let error = filters(None).program(&host(&["seccomp={"], false)).unwrap_err();
        assert_eq!(error.message(), "decoding seccomp profile failed");
    }
}
