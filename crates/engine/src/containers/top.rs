//! The processes of a container. dockerd runs the host's ps(1) and so do its arguments mean what they mean there; the
//! default list is read from /proc without it.

use super::{Containers, users::IdRange};
use crate::parts::blocking;
use rorqual_api_types::container::TopResponse;
use rorqual_error::{Context, Error, Result};
use std::{collections::HashMap, fs, process::Command};

impl Containers {
    /// Its processes, with ps(1)'s arguments; empty is `-ef`.
    pub async fn top(&self, name: &str, ps_args: &str) -> Result<TopResponse> {
        let handle = self.find(name)?;
        let view = handle.view();
        let id = handle.id();
        if view.status.phase == super::state::Phase::Restarting {
            return Err(Error::conflict(format!("Container {id} is restarting, wait until the container is running")));
        }
        if !view.status.phase.is_live() {
            return Err(Error::conflict(format!("container {id} is not running")));
        }
        let (parts, args) = (self.parts.clone(), ps_args.to_owned());
        let response = blocking(move || {
            let pids = parts.cgroups.open(&view.status.cgroup).pids()?;
            let mut top = if args.is_empty() || args == "-ef" { full_list(&pids) } else { run_ps(&args, &pids)? };
            if let Some(range) = view.status.userns {
                show_inner_users(&mut top, range);
            }
            Ok(top)
        })
        .await?;
        let record = handle.view().record.clone();
        self.parts.events.publish(crate::events::Scope::Container, "top", id.as_str(), record.attributes());
        Ok(response)
    }
}

/// In a user namespace of its own a process's user is a high number on the host; people mean the one inside.
fn show_inner_users(top: &mut TopResponse, range: IdRange) {
    let users = user_names();
    let columns: Vec<usize> = (0..top.titles.len())
        .filter(|index| matches!(top.titles[*index].as_str(), "UID" | "USER" | "EUSER" | "RUSER"))
        .collect();
    for row in &mut top.processes {
        for column in &columns {
            let Some(cell) = row.get_mut(*column) else { continue };
            let inner = cell.parse::<u32>().ok().and_then(|uid| uid.checked_sub(range.uid));
            if let Some(inner) = inner.filter(|inner| *inner < range.size) {
                *cell = users.get(&inner).cloned().unwrap_or_else(|| inner.to_string());
            }
        }
    }
}

/// What `ps -ef` prints of these processes.
fn full_list(pids: &[i32]) -> TopResponse {
    let users = user_names();
    let boot = boot_time();
    let titles = ["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"].map(str::to_owned).to_vec();
    let mut pids = pids.to_vec();
    pids.sort_unstable();
    let processes = pids.iter().filter_map(|pid| row(*pid, &users, boot)).collect();
    TopResponse { processes, titles }
}

fn row(pid: i32, users: &HashMap<u32, String>, boot: i64) -> Option<Vec<String>> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold anything; the fields start after the last one.
    let fields: Vec<&str> = stat.get(stat.rfind(')')? + 2..)?.split(' ').collect();
    let number = |index: usize| fields.get(index).and_then(|field| field.parse::<i64>().ok()).unwrap_or(0);
    let ticks = i64::try_from(rustix::param::clock_ticks_per_second()).unwrap_or(100).max(1);
    let used = (number(11) + number(12)) / ticks;
    let started = boot + number(19) / ticks;
    let now = jiff::Timestamp::now().as_second();
    let share = used * 100 / (now - started).max(1);
    let uid: u32 = {
        use std::os::unix::fs::MetadataExt;
        fs::metadata(format!("/proc/{pid}")).ok()?.uid()
    };
    Some(vec![
        users.get(&uid).cloned().unwrap_or_else(|| uid.to_string()),
        pid.to_string(),
        number(1).to_string(),
        share.min(99).to_string(),
        start_text(started, now),
        terminal(number(4)),
        format!("{:02}:{:02}:{:02}", used / 3600, used / 60 % 60, used % 60),
        command(pid, &stat),
    ])
}

/// `/proc/stat`'s boot time, in seconds since 1970.
fn boot_time() -> i64 {
    let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
    let line = stat.lines().find_map(|line| line.strip_prefix("btime "));
    line.and_then(|text| text.trim().parse().ok()).unwrap_or(0)
}

/// The hour and minute of a start within a day, else the month and day, in local time.
fn start_text(started: i64, now: i64) -> String {
    let Ok(time) = jiff::Timestamp::from_second(started) else { return "?".into() };
    let zoned = time.to_zoned(jiff::tz::TimeZone::system());
    let format = if now - started < 24 * 3600 { "%H:%M" } else { "%b%d" };
    zoned.strftime(format).to_string()
}

/// Names of the terminals a container meets.
fn terminal(number: i64) -> String {
    let (major, minor) = ((number >> 8) & 0xfff, (number & 0xff) | ((number >> 12) & 0xfff00));
    match major {
        0 => "?".into(),
        136..=143 => format!("pts/{}", (major - 136) * 256 + minor),
        4 => format!("tty{minor}"),
        _ => "?".into(),
    }
}

fn command(pid: i32, stat: &str) -> String {
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let words: Vec<_> = line.split(|byte| *byte == 0).map(String::from_utf8_lossy).collect();
    let text = words.join(" ").trim_end().to_owned();
    if !text.is_empty() {
        return text;
    }
    let name = stat.split_once('(').and_then(|(_, rest)| rest.rsplit_once(')'));
    format!("[{}]", name.map_or("?", |(name, _)| name))
}

/// The host's users by number, as far as its own file knows them.
fn user_names() -> HashMap<u32, String> {
    let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let user = |line: &str| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        // ps prints the number of a user whose name is too long for its column.
        let uid = fields.nth(1)?.parse().ok()?;
        (name.len() <= 8).then(|| (uid, name.to_owned()))
    };
    passwd.lines().filter_map(user).collect()
}

/// Runs ps(1) and keeps the rows of these processes.
fn run_ps(args: &str, pids: &[i32]) -> Result<TopResponse> {
    let args: Vec<&str> = args.split_whitespace().collect();
    let refused = |arg: &&&str| arg.contains("-o") && arg.contains('=') || arg.contains('\'');
    if args.iter().any(|arg| refused(&arg)) {
        return Err(Error::invalid("specifying \"%s=\" or quotes in ps arguments is not supported"));
    }
    let list = pids.iter().map(i32::to_string).collect::<Vec<_>>().join(",");
    let run = |more: &[&str]| Command::new("ps").args(&args).args(more).output().context("Error running ps");
    let mut output = run(&["-q", &list])?;
    if !output.status.success() {
        // Some options, such as f, do not go with a list of processes.
        output = run(&[])?;
    }
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        let first = text.lines().next().unwrap_or_default();
        return Err(Error::internal(format!("ps: {}", first.strip_prefix("ps: ").unwrap_or(first))));
    }
    parse_ps(&String::from_utf8_lossy(&output.stdout), pids)
}

fn parse_ps(text: &str, pids: &[i32]) -> Result<TopResponse> {
    let mut lines = text.lines();
    let titles: Vec<String> = lines.next().unwrap_or_default().split_whitespace().map(str::to_owned).collect();
    let column = titles.iter().position(|title| title == "PID");
    let column = column.ok_or_else(|| Error::internal("Couldn't find PID field in ps output"))?;
    let mut processes = Vec::new();
    for line in lines {
        let words: Vec<&str> = line.split_whitespace().collect();
        let Some(pid) = words.get(column).and_then(|pid| pid.parse::<i32>().ok()) else { continue };
        if !pids.contains(&pid) {
            continue;
        }
        // The last column is the command, with its spaces.
        let (head, rest) = words.split_at(titles.len().saturating_sub(1).min(words.len()));
        let mut row: Vec<String> = head.iter().map(|word| (*word).to_owned()).collect();
        row.push(rest.join(" "));
        processes.push(row);
    }
    Ok(TopResponse { processes, titles })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_other_processes_are_left_out() {
        let text = "USER PID COMMAND\nroot 1 /sbin/init splash\nroot 7 sleep 100\n";
        let top = parse_ps(text, &[7]).unwrap();
        assert_eq!(top.titles, ["USER", "PID", "COMMAND"]);
        assert_eq!(top.processes, [["root", "7", "sleep 100"]]);
        assert_eq!(parse_ps("COMMAND\nx\n", &[]).unwrap_err().to_string(), "Couldn't find PID field in ps output");
    }

    #[test]
    fn this_process_is_listed() {
        let pid = std::process::id() as i32;
        let top = full_list(&[pid]);
        assert_eq!(top.processes.len(), 1);
        assert_eq!(top.processes[0][1], pid.to_string());
    }
}
