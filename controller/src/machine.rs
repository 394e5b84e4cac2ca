//! What the machine gives to this program and to the Envoys beside it, by Linux's `/proc`.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// How many inotify instances a site takes: one of the controller, up to six of the gateway, up to four of the egress.
pub const INOTIFY_INSTANCES: u64 = 12;
/// How many folders they watch, at most.
pub const INOTIFY_WATCHES: u64 = 64;
/// The unit of times in `/proc/PID/stat`: Linux has shown hundredths of a second on every machine for decades.
const TICKS_A_SECOND: u64 = 100;

/// Raises this program's own limit of open files as far as it may. Linux gives 1,024 to a program that does not ask.
pub fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    // When it is refused the lower limit holds, as before.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}

/// How many files a program that is started as this one was may open: the hard limit.
pub fn descriptor_limit() -> u64 {
    getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX)
}

/// How many workers an Envoy has unless it is told otherwise (`--concurrency`).
pub fn workers() -> u64 {
    std::thread::available_parallelism().map_or(1, |count| u64::try_from(count.get()).unwrap_or(u64::MAX))
}

/// An Envoy that runs on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunningEnvoy {
    /// Its process id.
    pub pid: u32,
    /// What it may open, and with how many workers, as far as that is known.
    pub seen: Seen,
    /// When it was started.
    pub started: SystemTime,
}

/// What was seen of an Envoy the last time that it ran.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// How many files it may open.
    pub open_files: Option<u64>,
    /// `--concurrency`, if it was given.
    pub workers: Option<u64>,
}

/// The Envoy that was started with this bootstrap; of several the one that may open the fewest files. `None` when there is
/// none, or it cannot be seen from here (another machine or container).
pub fn running_envoy(bootstrap: &Path) -> Option<RunningEnvoy> {
    let bootstrap = bootstrap.canonicalize().ok()?;
    let of = |pid| envoy_of(pid, &bootstrap);
    processes().filter_map(of).min_by_key(|envoy| envoy.seen.open_files)
}

fn processes() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

fn envoy_of(pid: u32, bootstrap: &Path) -> Option<RunningEnvoy> {
    let folder = PathBuf::from(format!("/proc/{pid}"));
    let line = fs::read_to_string(folder.join("cmdline")).ok()?;
    let arguments: Vec<_> = line.split('\0').collect();
    let config = ["--config-path", "-c"].iter().find_map(|name| value_of(&arguments, name))?;
    // A relative path is relative to its working directory, which its own user may look at.
    let place = fs::read_link(folder.join("cwd")).unwrap_or_default().join(config);
    if place.canonicalize().ok()? != bootstrap {
        return None;
    }
    let workers = value_of(&arguments, "--concurrency").and_then(|count| count.parse().ok());
    let open_files = hard_limit(&fs::read_to_string(folder.join("limits")).ok()?);
    let started = started(&fs::read_to_string(folder.join("stat")).ok()?)?;
    Some(RunningEnvoy { pid, seen: Seen { open_files, workers }, started })
}

/// The value of `--name value` or `--name=value`.
fn value_of<'a>(arguments: &[&'a str], name: &str) -> Option<&'a str> {
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        if *argument == name {
            return rest.next().copied();
        }
        if let Some(value) = argument.strip_prefix(name).and_then(|rest| rest.strip_prefix('=')) {
            return Some(value);
        }
    }
    None
}

/// The hard limit of open files in `/proc/PID/limits`; `None` when there is none.
fn hard_limit(limits: &str) -> Option<u64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

/// When a process was started, by `/proc/PID/stat`. Its second field is the program's name in brackets, which may have spaces
/// in it; the start is the 22nd, in ticks since the machine was.
fn started(stat: &str) -> Option<SystemTime> {
    let ticks: u64 = stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()?;
    let uptime: f64 = fs::read_to_string("/proc/uptime").ok()?.split_whitespace().next()?.parse().ok()?;
    let ago =
        Duration::try_from_secs_f64(uptime).ok()?.checked_sub(Duration::from_millis(ticks * 1000 / TICKS_A_SECOND))?;
    SystemTime::now().checked_sub(ago)
}

/// What the kernel gives of inotify to one user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Inotify {
    /// `fs.inotify.max_user_instances`.
    pub instances: u64,
    /// `fs.inotify.max_user_watches`.
    pub watches: u64,
    /// How many instances the programs that can be seen from here hold.
    pub held: u64,
}

impl Inotify {
    /// Asks the kernel; `None` when it does not say.
    pub fn read() -> Option<Self> {
        let number = |path: &str| fs::read_to_string(path).ok()?.trim().parse::<u64>().ok();
        let of = |name: &str| {
            let machine = number(&format!("/proc/sys/fs/inotify/max_user_{name}"))?;
            // Of the user namespace, as in containers.
            Some(number(&format!("/proc/sys/user/max_inotify_{name}")).map_or(machine, |own| own.min(machine)))
        };
        Some(Self { instances: of("instances")?, watches: of("watches")?, held: processes().map(held_by).sum() })
    }
}

/// How many inotify instances a process holds; 0 for those of other users, which nobody but root may look at.
fn held_by(pid: u32) -> u64 {
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    let targets = entries.filter_map(|entry| fs::read_link(entry.path()).ok());
    targets.map(|target| u64::from(target.as_os_str() == "anon_inode:inotify")).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    #[test]
    fn an_envoy_is_found_by_its_bootstrap_and_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let (ours, other) = (folder.path().join("bootstrap.json"), folder.path().join("other.json"));
        for file in [&ours, &other] {
            fs::write(file, "{}").unwrap();
        }
        assert_eq!(running_envoy(&ours), None);
        // A shell that waits for its input, with the arguments of an Envoy, relative path included.
        let mut stand_in = Command::new("sh")
            .args(["-c", "ulimit -n 100; read line", "envoy", "--concurrency=3", "--config-path", "bootstrap.json"])
            .current_dir(folder.path())
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let limited = || running_envoy(&ours).filter(|envoy| envoy.seen.open_files == Some(100));
        let deadline = std::time::Instant::now() + Duration::from_secs(20);
        let found = loop {
            match limited() {
                Some(envoy) => break envoy,
                None if std::time::Instant::now() > deadline => panic!("not found: {:?}", running_envoy(&ours)),
                None => std::thread::yield_now(),
            }
        };
        assert_eq!((found.pid, found.seen.workers), (stand_in.id(), Some(3)));
        assert!(found.started.elapsed().unwrap_or_default() < Duration::from_secs(30));
        assert_eq!(running_envoy(&other), None);
        drop(stand_in.stdin.take());
        stand_in.wait().unwrap();
        assert_eq!(running_envoy(&ours), None);
    }

    #[test]
    fn an_instance_that_is_held_is_counted() {
        let before = held_by(std::process::id());
        let watcher = notify::recommended_watcher(|_: notify::Result<notify::Event>| {}).unwrap();
        assert!(held_by(std::process::id()) > before);
        assert!(Inotify::read().unwrap().held > before);
        drop(watcher);
    }

    #[test]
    fn limits_are_read_as_linux_writes_them() {
        let limits = "Limit                     Soft Limit           Hard Limit           Units     \n\
                      Max open files            1024                 524288               files     \n";
        assert_eq!(hard_limit(limits), Some(524_288));
        assert_eq!(hard_limit(&limits.replace("524288", "unlimited")), None);
        assert!(descriptor_limit() > 0 && workers() > 0);
    }
}
