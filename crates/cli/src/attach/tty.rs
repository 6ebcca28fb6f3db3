//! Our own terminal: raw mode that is always undone, and its size.

use rustix::{
    stdio,
    termios::{LocalModes, OptionalActions, Termios, isatty, tcgetattr, tcgetwinsize, tcsetattr},
};
use std::sync::Mutex;

/// The mode the terminal had before we changed it.
static SAVED: Mutex<Option<Termios>> = Mutex::new(None);

/// Whether standard input is a terminal.
pub(crate) fn stdin_is_terminal() -> bool {
    isatty(stdio::stdin())
}

/// Whether standard output is a terminal.
pub(crate) fn stdout_is_terminal() -> bool {
    isatty(stdio::stdout())
}

/// Rows and columns of the terminal on standard output, where it has a size.
pub(crate) fn stdout_size() -> Option<(u16, u16)> {
    let size = tcgetwinsize(stdio::stdout()).ok()?;
    (size.ws_row > 0 || size.ws_col > 0).then_some((size.ws_row, size.ws_col))
}

/// The width of the terminal on standard input, which help is wrapped to.
pub(crate) fn stdin_width() -> Option<usize> {
    tcgetwinsize(stdio::stdin()).ok().map(|size| usize::from(size.ws_col)).filter(|width| *width > 0)
}

/// Raw mode while it lives; nothing where standard input is no terminal.
#[derive(Debug)]
pub(crate) struct RawMode(());

impl RawMode {
    /// Passes every key on untouched.
    pub(crate) fn enter() -> Self {
        if let Ok(mode) = tcgetattr(stdio::stdin()) {
            let mut raw = mode.clone();
            raw.make_raw();
            let mut saved = SAVED.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            saved.get_or_insert(mode);
            // A terminal that refuses stays as it is, which is as usable as we can make it.
            let _ = tcsetattr(stdio::stdin(), OptionalActions::Now, &raw);
        }
        Self(())
    }
}

/// Keys are not shown while it lives, for a password.
#[derive(Debug)]
pub(crate) struct NoEcho(());

impl NoEcho {
    pub(crate) fn enter() -> Self {
        if let Ok(mode) = tcgetattr(stdio::stdin()) {
            let mut silent = mode.clone();
            silent.local_modes.remove(LocalModes::ECHO);
            let mut saved = SAVED.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            saved.get_or_insert(mode);
            let _ = tcsetattr(stdio::stdin(), OptionalActions::Now, &silent);
        }
        Self(())
    }
}

impl Drop for NoEcho {
    fn drop(&mut self) {
        restore();
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        restore();
    }
}

/// Undoes raw mode, if it is on.
pub(crate) fn restore() {
    let mut saved = SAVED.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if let Some(mode) = saved.take() {
        let _ = tcsetattr(stdio::stdin(), OptionalActions::Now, &mode);
    }
}

/// Undoes raw mode before a panic prints its message.
pub(crate) fn restore_on_panic() {
    let print = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        restore();
        print(info);
    }));
}
