//! Users and bcrypt hashes of their passwords in a file, as `htpasswd -B` writes it. A change of the file counts at once.

use crate::{
    limits::{BCRYPT_COST, HTPASSWD, PASSWORD_CHECKS, PASSWORD_MEMORY, PASSWORD_QUEUE, PASSWORDS},
    refusal::{Code, Refusal, Result},
};
use aws_lc_rs::hmac;
use base64::{Engine, engine::general_purpose::STANDARD};
use rorqual_error::{Context, Error};
use std::{
    collections::HashMap,
    fmt,
    fs::File,
    io::Read,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::{sync::Semaphore, time::Instant};

/// Compared with the password of a user who does not exist, so that the answer takes as long.
const NOBODY: &str = "$2y$10$7EqJtq98hPqEX7fNZaFWoOHi8Q9HXe9tX9k4U1yR4sGZ4HFJqN8ay";

/// The file.
pub(crate) struct Htpasswd {
    path: PathBuf,
    realm: String,
    state: Mutex<State>,
    checks: Semaphore,
    queue: Semaphore,
    /// Makes what is remembered of passwords useless elsewhere.
    secret: hmac::Key,
}

#[derive(Default)]
struct State {
    version: Option<Version>,
    users: HashMap<String, Arc<str>>,
    /// Names and passwords that were right, as codes, and until when that counts.
    right: HashMap<[u8; 32], Instant>,
}

/// Which state of the file was read.
type Version = (u64, u64, i64, i64);

impl fmt::Debug for Htpasswd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Htpasswd({})", self.path.display())
    }
}

impl Htpasswd {
    pub(crate) fn open(path: &Path, realm: &str) -> rorqual_error::Result<Self> {
        let mut secret = [0; 32];
        aws_lc_rs::rand::fill(&mut secret).map_err(|_| Error::internal("no randomness"))?;
        let users = Self {
            path: path.to_owned(),
            realm: realm.to_owned(),
            state: Mutex::default(),
            checks: Semaphore::new(PASSWORD_CHECKS),
            queue: Semaphore::new(PASSWORD_QUEUE),
            secret: hmac::Key::new(hmac::HMAC_SHA256, &secret),
        };
        users.refresh()?;
        Ok(users)
    }

    pub(crate) fn challenge(&self) -> String {
        format!("Basic realm=\"{}\"", self.realm.replace(['"', '\\'], ""))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads the file again where it has changed; what was remembered of the old one is forgotten.
    fn refresh(&self) -> rorqual_error::Result<()> {
        let context = || format!("read {}", self.path.display());
        let metadata = std::fs::metadata(&self.path).with_context(context)?;
        let version = (metadata.ino(), metadata.len(), metadata.mtime(), metadata.mtime_nsec());
        let mut state = self.lock();
        if state.version == Some(version) {
            return Ok(());
        }
        let mut text = String::new();
        let file = File::open(&self.path).with_context(context)?;
        file.take(HTPASSWD + 1).read_to_string(&mut text).with_context(context)?;
        if text.len() as u64 > HTPASSWD {
            return Err(Error::invalid(format!("{} is larger than {HTPASSWD} bytes", self.path.display())));
        }
        *state = State { version: Some(version), users: parse(&text), right: HashMap::new() };
        Ok(())
    }

    /// The name in `credentials` (base64 of `name:password`) where the password is right.
    pub(crate) async fn check(&self, credentials: &str) -> Result<Option<String>> {
        let Some((name, password)) = decode(credentials) else { return Ok(None) };
        self.refresh()?;
        let code = self.code(&name, &password);
        let hash = {
            let mut state = self.lock();
            state.right.retain(|_, until| *until > Instant::now());
            if state.right.contains_key(&code) {
                return Ok(Some(name));
            }
            state.users.get(&name).cloned()
        };
        let busy = || Refusal::new(Code::TooManyRequests, "too many passwords to check");
        let _place = self.queue.try_acquire().map_err(|_| busy())?;
        let _turn = self.checks.acquire().await.map_err(|_| busy())?;
        let (known, hash) = hash.map_or((false, NOBODY.into()), |hash| (true, hash));
        let checked = tokio::task::spawn_blocking(move || bcrypt::verify(password, &hash).unwrap_or(false)).await;
        let right = known && checked.unwrap_or(false);
        if !right {
            return Ok(None);
        }
        let mut state = self.lock();
        if state.right.len() < PASSWORDS {
            state.right.insert(code, Instant::now() + PASSWORD_MEMORY);
        }
        Ok(Some(name))
    }

    fn code(&self, name: &str, password: &str) -> [u8; 32] {
        let tag = hmac::sign(&self.secret, format!("{name}:{password}").as_bytes());
        let mut code = [0; 32];
        code.copy_from_slice(tag.as_ref());
        code
    }
}

fn decode(credentials: &str) -> Option<(String, String)> {
    let text = String::from_utf8(STANDARD.decode(credentials).ok()?).ok()?;
    let (name, password) = text.split_once(':')?;
    Some((name.to_owned(), password.to_owned()))
}

/// Users of lines `name:hash`; lines that are not, and hashes other than affordable bcrypt, are left out with a word in
/// the log.
fn parse(text: &str) -> HashMap<String, Arc<str>> {
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty() && !line.starts_with('#'));
    let users = lines.filter_map(|(number, line)| match line.trim().split_once(':') {
        Some((name, hash)) if is_affordable(hash) => Some((name.to_owned(), Arc::from(hash))),
        _ => {
            tracing::warn!(
                line = number + 1,
                "the line names no user with a bcrypt hash of cost {BCRYPT_COST} at most"
            );
            None
        }
    });
    users.collect()
}

fn is_affordable(hash: &str) -> bool {
    let mut parts = hash.split('$').skip(1);
    let kind = parts.next().is_some_and(|kind| matches!(kind, "2a" | "2b" | "2x" | "2y"));
    kind && parts.next().and_then(|cost| cost.parse::<u32>().ok()).is_some_and(|cost| cost <= BCRYPT_COST)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn basic(text: &str) -> String {
        STANDARD.encode(text)
    }

    fn line(name: &str, password: &str) -> String {
        format!("{name}:{}\n", bcrypt::hash(password, 4).unwrap())
    }

    #[tokio::test]
    async fn only_the_right_password_is_right_and_a_changed_file_counts() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("users");
        std::fs::write(&path, format!("# users\n\n{}plain:secret\n", line("ann", "a:b"))).unwrap();
        let users = Htpasswd::open(&path, "R").unwrap();
        for _ in 0..2 {
            assert_eq!(users.check(&basic("ann:a:b")).await.unwrap(), Some("ann".to_owned()));
            for wrong in ["ann:a", "ann:", "bob:a:b", "plain:secret", "ann", ":"] {
                assert_eq!(users.check(&basic(wrong)).await.unwrap(), None, "{wrong}");
            }
            assert_eq!(users.check("%%%").await.unwrap(), None);
        }
        std::fs::write(&path, line("ann", "other one")).unwrap();
        assert_eq!(users.check(&basic("ann:a:b")).await.unwrap(), None);
        assert_eq!(users.check(&basic("ann:other one")).await.unwrap(), Some("ann".to_owned()));
        assert!(Htpasswd::open(&directory.path().join("none"), "R").is_err());
    }

    #[test]
    fn the_hash_for_nobody_is_one() {
        assert!(bcrypt::verify("x", NOBODY).is_ok_and(|right| !right));
        assert!(is_affordable(NOBODY));
        assert!(!is_affordable("$2y$15$7EqJtq98hPqEX7fNZaFWoO"));
        assert!(!is_affordable("{SHA}x"));
    }
}
