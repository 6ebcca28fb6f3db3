//! Signals that reach us go to the container; a terminal's new size goes to its terminal.

use super::tty;
use crate::limits;
use rorqual_client::Client;
use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::mpsc,
    task::JoinHandle,
};

/// Names by number for the signals that can be caught and are meant for others: not KILL, STOP, CHLD, PIPE, URG, nor
/// those of faults.
const FORWARDED: [(i32, &str); 22] = [
    (1, "HUP"),
    (2, "INT"),
    (3, "QUIT"),
    (6, "ABRT"),
    (10, "USR1"),
    (12, "USR2"),
    (14, "ALRM"),
    (15, "TERM"),
    (16, "STKFLT"),
    (18, "CONT"),
    (20, "TSTP"),
    (21, "TTIN"),
    (22, "TTOU"),
    (24, "XCPU"),
    (25, "XFSZ"),
    (26, "VTALRM"),
    (28, "WINCH"),
    (29, "IO"),
    (30, "PWR"),
    (31, "SYS"),
    (5, "TRAP"),
    (27, "PROF"),
];

/// How many signals that would end us are held off while a command takes them for its own.
static HELD: AtomicU32 = AtomicU32::new(0);

/// Ends its tasks when it goes.
#[derive(Debug)]
pub(crate) struct Forwarding(Vec<JoinHandle<()>>);

impl Drop for Forwarding {
    fn drop(&mut self) {
        self.0.iter().for_each(JoinHandle::abort);
    }
}

/// While it lives, interrupts do not end us.
#[derive(Debug)]
pub(crate) struct Held {
    _forwarding: Option<Forwarding>,
}

impl Drop for Held {
    fn drop(&mut self) {
        HELD.store(0, Ordering::Relaxed);
    }
}

/// Holds interrupts off without passing them on; the third in a row ends us all the same.
pub(crate) fn hold() -> Held {
    HELD.store(limits::INTERRUPTS_HELD, Ordering::Relaxed);
    Held { _forwarding: None }
}

/// Waits for an interrupt or a termination that no command has taken, and gives the exit status it means.
pub(crate) async fn ended() -> u8 {
    let (Ok(mut interrupt), Ok(mut terminate)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        return std::future::pending().await;
    };
    loop {
        let status = tokio::select! {
            Some(()) = interrupt.recv() => 130,
            Some(()) = terminate.recv() => 143,
            else => return std::future::pending().await,
        };
        match HELD.load(Ordering::Relaxed) {
            0 => return status,
            u32::MAX => {}
            left => HELD.store(left - 1, Ordering::Relaxed),
        }
    }
}

/// Forwards every signal to `container` from now on.
pub(crate) fn forward(client: &Client, container: &str) -> Held {
    let (send, mut receive) = mpsc::channel::<&'static str>(FORWARDED.len());
    let mut tasks = Vec::new();
    for (number, name) in FORWARDED {
        // A signal that cannot be caught here keeps its default action.
        let Ok(mut stream) = signal(SignalKind::from_raw(number)) else { continue };
        let send = send.clone();
        tasks.push(tokio::spawn(async move {
            while stream.recv().await.is_some() {
                if send.send(name).await.is_err() {
                    return;
                }
            }
        }));
    }
    let (client, container) = (client.clone(), container.to_owned());
    tasks.push(tokio::spawn(async move {
        while let Some(name) = receive.recv().await {
            // A container that has just ended takes no signal.
            let _ = client.post(format!("/containers/{container}/kill")).query("signal", name).send().await;
        }
    }));
    HELD.store(u32::MAX, Ordering::Relaxed);
    Held { _forwarding: Some(Forwarding(tasks)) }
}

/// What a terminal's size is sent for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Resized<'a> {
    /// A container's main process.
    Container(&'a str),
    /// A process started in a container.
    Exec(&'a str),
}

/// Makes a program draw its screen again for a client that has just attached: it is told another size first.
pub(crate) async fn redraw(client: &Client, container: &str) {
    let Some((rows, columns)) = tty::stdout_size() else { return };
    let request = client
        .post(format!("/containers/{container}/resize"))
        .query("h", rows.saturating_add(1).to_string())
        .query("w", columns.saturating_add(1).to_string());
    // Only the looks of the screen depend on it.
    let _ = request.send().await;
}

/// Sends our size now, again while the program is not ready for it, and at each change.
pub(crate) fn follow_size(client: &Client, target: Resized<'_>) -> Forwarding {
    let path = match target {
        Resized::Container(id) => format!("/containers/{id}/resize"),
        Resized::Exec(id) => format!("/exec/{id}/resize"),
    };
    let client = client.clone();
    let task = tokio::spawn(async move {
        let changes = signal(SignalKind::window_change());
        for attempt in 1..=limits::RESIZE_TRIES {
            if send_size(&client, &path).await {
                break;
            }
            tokio::time::sleep(Duration::from_millis(limits::RESIZE_WAIT_MS * u64::from(attempt))).await;
        }
        let Ok(mut changes) = changes else { return };
        while changes.recv().await.is_some() {
            send_size(&client, &path).await;
        }
    });
    Forwarding(vec![task])
}

/// Whether there was nothing to send, or it was taken.
async fn send_size(client: &Client, path: &str) -> bool {
    let Some((rows, columns)) = tty::stdout_size() else { return true };
    let request = client.post(path).query("h", rows.to_string()).query("w", columns.to_string());
    match request.send().await {
        Ok(response) => response.finish().await.is_ok(),
        Err(_) => false,
    }
}
