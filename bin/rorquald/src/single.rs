//! One daemon for one set of roots: directories with their modes, the lock of the data root, the file of the process id.

use anyhow::{Context, Result, bail};
use rustix::fs::{FlockOperation, flock};
use std::{
    fs::{self, DirBuilder, File, OpenOptions, Permissions},
    io::{ErrorKind, Read, Seek, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

/// Makes a root directory that only root lists; others may pass through to what they were given.
pub fn root(path: &Path) -> Result<()> {
    let shown = path.display();
    DirBuilder::new().recursive(true).mode(0o711).create(path).with_context(|| format!("create {shown}"))?;
    fs::set_permissions(path, Permissions::from_mode(0o711)).with_context(|| format!("set the mode of {shown}"))
}

/// Holds the data root; the kernel lets it go when the daemon ends, however it ends.
#[derive(Debug)]
pub struct DataLock {
    _file: File,
}

impl DataLock {
    /// Takes the data root, or says who has it.
    pub fn take(data_root: &Path) -> Result<Self> {
        let path = data_root.join("lock");
        let mut file = OpenOptions::new()
            .create(true)
            .read(true)
            .write(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .with_context(|| format!("open {}", path.display()))?;
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            let mut owner = String::new();
            let _ = file.read_to_string(&mut owner);
            bail!(
                "the data root {} is in use by another daemon (process {}); choose another with --data-root",
                data_root.display(),
                owner.trim()
            );
        }
        file.set_len(0)?;
        file.rewind()?;
        writeln!(file, "{}", std::process::id())?;
        Ok(Self { _file: file })
    }
}

/// The file of the process id; removed with the daemon.
#[derive(Debug)]
pub struct PidFile {
    path: PathBuf,
}

impl PidFile {
    /// Writes the file; refuses where a live process has it.
    pub fn create(path: &Path) -> Result<Self> {
        let own = std::process::id();
        match fs::read_to_string(path) {
            Ok(text) => {
                let pid = text.trim().parse::<u32>().unwrap_or_default();
                if pid != 0 && pid != own && Path::new("/proc").join(pid.to_string()).exists() {
                    bail!(
                        "process with PID {pid} is still running: ensure docker is not running or delete {}, or choose \
                         another file with --pidfile",
                        path.display()
                    );
                }
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error).with_context(|| format!("read {}", path.display())),
        }
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).with_context(|| format!("create {}", parent.display()))?;
        }
        let temporary = path.with_extension(format!("{own}.new"));
        let written = fs::write(&temporary, own.to_string()).and_then(|()| fs::rename(&temporary, path));
        written.with_context(|| format!("write {}", path.display()))?;
        Ok(Self { path: path.to_owned() })
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_live_process_keeps_its_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("deep/pid");
        let file = PidFile::create(&path).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), std::process::id().to_string());
        drop(file);
        assert!(!path.exists());
        fs::write(&path, "1").unwrap();
        assert!(PidFile::create(&path).unwrap_err().to_string().starts_with("process with PID 1 is still running"));
        fs::write(&path, "4194999").unwrap();
        PidFile::create(&path).unwrap();
    }

    #[test]
    fn a_data_root_has_one_daemon() {
        let directory = tempfile::tempdir().unwrap();
        let lock = DataLock::take(directory.path()).unwrap();
        let error = DataLock::take(directory.path()).unwrap_err().to_string();
        assert!(error.contains(&format!("is in use by another daemon (process {})", std::process::id())), "{error}");
        drop(lock);
        DataLock::take(directory.path()).unwrap();
    }

    #[test]
    fn roots_are_not_listed_by_others() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a/b");
        root(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o711);
    }
}
