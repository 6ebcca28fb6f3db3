//! The control socket of a running registry, `ROOT/control.sock`: whoever may open it may have garbage collected. A line
//! in, a line of JSON out.

use crate::{collect::Collected, config::Config, registry::Registry};
use rorqual_error::{Context, Error, Kind, Result};
use serde::{Deserialize, Serialize};
use std::{io, os::unix::fs::PermissionsExt, path::PathBuf, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{UnixListener, UnixStream},
};
use tokio_util::sync::CancellationToken;

/// The one command.
const COLLECT: &str = "collect";
/// Bytes of a command or an answer.
const LINE: u64 = 4096;
/// How long a client may take for its command.
const DEADLINE: Duration = Duration::from_secs(10);

#[derive(Debug, Serialize, Deserialize)]
enum Answer {
    Collected(Collected),
    Failed(String),
}

fn path(config: &Config) -> PathBuf {
    config.root.join("control.sock")
}

/// Makes the socket. The registry's store is open, so no other registry serves this root.
pub(crate) fn listen(config: &Config) -> Result<UnixListener> {
    let path = path(config);
    let context = || format!("listen on {}", path.display());
    // Where an object store has everything else, the socket may be all that is here.
    std::fs::create_dir_all(&config.root).with_context(context)?;
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error).with_context(context),
        _ => {}
    }
    let listener = UnixListener::bind(&path).with_context(context)?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).with_context(context)?;
    Ok(listener)
}

/// Answers on the socket until `stop`, one client after the other.
pub(crate) async fn serve(listener: UnixListener, registry: Arc<Registry>, stop: CancellationToken) {
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        if let Ok((stream, _)) = accepted
            && let Err(error) = answer(stream, &registry).await
        {
            tracing::debug!(%error, "a client of the control socket went away");
        }
    }
}

async fn answer(stream: UnixStream, registry: &Registry) -> io::Result<()> {
    let (read, mut write) = stream.into_split();
    let mut line = String::new();
    tokio::time::timeout(DEADLINE, BufReader::new(read.take(LINE)).read_line(&mut line)).await??;
    let answer = match line.trim() {
        COLLECT => match registry.collect().await {
            Ok(collected) => Answer::Collected(collected),
            Err(error) => Answer::Failed(error.to_string()),
        },
        _ => Answer::Failed("unknown command".into()),
    };
    let mut text = serde_json::to_string(&answer)?;
    text.push('\n');
    write.write_all(text.as_bytes()).await
}

/// Has the registry that serves `config.root` collect garbage; where none does, does it itself, and then no push can be
/// under way.
pub async fn collect(config: &Config) -> Result<Collected> {
    let path = path(config);
    match UnixStream::connect(&path).await {
        Ok(stream) => ask(stream).await.with_context(|| format!("ask the registry at {}", path.display()))?,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
            if !config.root.join("content").is_dir() {
                let text = format!("no registry serves {root}, and there is none in it", root = config.root.display());
                return Err(Error::not_found(text));
            }
            let mut config = config.clone();
            config.collect.grace = Duration::ZERO;
            config.collect.grace_at_start = Duration::ZERO;
            Registry::open(&config)?.collect().await
        }
        Err(error) => Err(error).with_context(|| format!("connect to {}", path.display())),
    }
}

async fn ask(stream: UnixStream) -> Result<Result<Collected>> {
    let (read, mut write) = stream.into_split();
    write.write_all(format!("{COLLECT}\n").as_bytes()).await.context("send the command")?;
    let mut line = String::new();
    BufReader::new(read.take(LINE)).read_line(&mut line).await.context("read the answer")?;
    let answer: Answer = serde_json::from_str(&line).context("read the answer")?;
    Ok(match answer {
        Answer::Collected(collected) => Ok(collected),
        Answer::Failed(why) => Err(Error::new(Kind::Internal, why)),
    })
}
