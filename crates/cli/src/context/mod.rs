//! `rorqual context`: named daemons, kept in the store that docker's clients share.

mod create;
pub(crate) mod endpoint;
mod inspect;
mod ls;
mod rm;
mod show;
pub(crate) mod store;
mod use_;

use crate::args::Group;

/// The group.
pub const GROUP: Group = Group {
    name: "context",
    about: "Manage contexts",
    commands: &[&create::COMMAND, &inspect::COMMAND, &ls::COMMAND, &rm::COMMAND, &show::COMMAND, &use_::COMMAND],
};

/// Told where `DOCKER_HOST` makes the current context have no effect.
pub(crate) fn warn_of_host(to_use: Option<&str>) {
    if std::env::var_os("DOCKER_HOST").is_some_and(|host| !host.is_empty()) {
        let what = to_use.map_or_else(|| "a context".to_owned(), |name| format!("{name:?}"));
        eprintln!(
            "Warning: DOCKER_HOST environment variable overrides the active context. To use {what}, either set the global --context flag, or unset DOCKER_HOST environment variable."
        );
    }
}
