//! What Linux's `/proc` says about this machine, this program and the Envoys next to it.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// How many inotify instances a site needs: one for the controller, seven for the gateway, four for
/// the egress.
pub const INOTIFY_INSTANCES: u64 = 12;
/// The most folders that they watch.
pub const INOTIFY_WATCHES: u64 = 64;
/// The unit of times in `/proc/PID/stat`. Linux has used hundredths of a second on every machine
/// for decades.
const TICKS_A_SECOND: u64 = 100;

/// Raises this program's limit of open files to the hard limit. The default on Linux is 1,024.
pub fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    // If this is refused, the lower limit stays in force.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}

/// How many files a program started like this one may open: the hard limit.
pub fn descriptor_limit() -> u64 {
    getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX)
}

/// How many workers an Envoy has by default (`--concurrency`).
pub fn workers() -> u64 {
    std::thread::available_parallelism()
        .map_or(1, |count| u64::try_from(count.get()).unwrap_or(u64::MAX))
}

/// An Envoy that runs on this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunningEnvoy {
    /// Its process id.
    pub pid: u32,
    /// Its limits, as far as they are known.
    pub limits: EnvoyLimits,
}

/// The limits of a running Envoy, as last observed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnvoyLimits {
    /// How many files it may open.
    pub open_files: Option<u64>,
    /// `--concurrency`, if given.
    pub workers: Option<u64>,
}

/// Finds the Envoys started with these bootstraps, in one pass over all processes. Among several
/// with the same bootstrap, picks the one that may open the fewest files. `None` if there is none,
/// or it is not visible from here (another machine or container).
pub fn running_envoys<const N: usize>(bootstraps: [&Path; N]) -> [Option<RunningEnvoy>; N] {
    let mut search = Search::new(bootstraps);
    processes().for_each(|pid| search.look_at(pid));
    search.found
}

/// Like [`running_envoys`], and counts the inotify instances of all processes in the same pass.
pub fn survey<const N: usize>(bootstraps: [&Path; N]) -> ([Option<RunningEnvoy>; N], u64) {
    let mut search = Search::new(bootstraps);
    let held = processes().map(|pid| (search.look_at(pid), inotify_instances_of(pid)).1).sum();
    (search.found, held)
}

/// The Envoys to look for, and those found so far.
struct Search<const N: usize> {
    bootstraps: [Option<PathBuf>; N],
    found: [Option<RunningEnvoy>; N],
}

impl<const N: usize> Search<N> {
    fn new(bootstraps: [&Path; N]) -> Self {
        Self { bootstraps: bootstraps.map(|path| path.canonicalize().ok()), found: [None; N] }
    }

    fn look_at(&mut self, pid: u32) {
        let Some((bootstrap, envoy)) = envoy_of(pid) else { return };
        let wanted = self.bootstraps.iter().zip(&mut self.found);
        for (_, found) in wanted.filter(|(path, _)| path.as_ref() == Some(&bootstrap)) {
            let before = found.map(|before| before.limits.open_files);
            if before.is_none_or(|before| envoy.limits.open_files < before) {
                *found = Some(envoy);
            }
        }
    }
}

fn processes() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// The bootstrap that a process was started with, if it is an Envoy, and what is known of it.
fn envoy_of(pid: u32) -> Option<(PathBuf, RunningEnvoy)> {
    let folder = PathBuf::from(format!("/proc/{pid}"));
    let line = fs::read_to_string(folder.join("cmdline")).ok()?;
    let arguments: Vec<_> = line.split('\0').collect();
    let config = ["--config-path", "-c"].iter().find_map(|name| value_of(&arguments, name))?;
    // A relative path starts at the process's working directory, which only its own user may read.
    let bootstrap =
        fs::read_link(folder.join("cwd")).unwrap_or_default().join(config).canonicalize().ok()?;
    let workers = value_of(&arguments, "--concurrency").and_then(|count| count.parse().ok());
    let open_files = hard_limit(&fs::read_to_string(folder.join("limits")).ok()?);
    Some((bootstrap, RunningEnvoy { pid, limits: EnvoyLimits { open_files, workers } }))
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

/// The hard limit of open files in `/proc/PID/limits`. `None` if there is no limit.
fn hard_limit(limits: &str) -> Option<u64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

/// When a process was started, from `/proc/PID/stat`. The second field is the program's name in
/// parentheses, which may contain spaces. The start is the 22nd field, in ticks since boot.
pub fn started(pid: u32) -> Option<SystemTime> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let ticks: u64 = stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()?;
    let uptime: f64 =
        fs::read_to_string("/proc/uptime").ok()?.split_whitespace().next()?.parse().ok()?;
    let ago = Duration::try_from_secs_f64(uptime)
        .ok()?
        .checked_sub(Duration::from_millis(ticks * 1000 / TICKS_A_SECOND))?;
    SystemTime::now().checked_sub(ago)
}

/// The kernel's inotify limits for one user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Inotify {
    /// The limit of instances.
    pub instances: KernelLimit,
    /// The limit of watches.
    pub watches: KernelLimit,
}

/// A kernel limit and its sysctl name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KernelLimit {
    /// The sysctl name.
    pub setting: &'static str,
    /// The limit's value.
    pub value: u64,
}

impl Inotify {
    /// Reads the limits. `None` if the kernel does not show them.
    pub fn read() -> Option<Self> {
        let instances =
            KernelLimit::lower("fs.inotify.max_user_instances", "user.max_inotify_instances")?;
        let watches =
            KernelLimit::lower("fs.inotify.max_user_watches", "user.max_inotify_watches")?;
        Some(Self { instances, watches })
    }
}

impl KernelLimit {
    /// The lower of the machine's limit and the user namespace's, which containers may have.
    fn lower(machine: &'static str, namespace: &'static str) -> Option<Self> {
        let machine = Self::read(machine)?;
        Some(
            Self::read(namespace)
                .filter(|namespace| namespace.value < machine.value)
                .unwrap_or(machine),
        )
    }

    fn read(setting: &'static str) -> Option<Self> {
        let path = format!("/proc/sys/{}", setting.replace('.', "/"));
        Some(Self { setting, value: fs::read_to_string(path).ok()?.trim().parse().ok()? })
    }
}

/// How many inotify instances a process holds. 0 for other users' processes, which only root may
/// inspect.
fn inotify_instances_of(pid: u32) -> u64 {
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    let targets = entries.filter_map(|entry| fs::read_link(entry.path()).ok());
    targets.map(|target| u64::from(target.as_os_str() == "anon_inode:inotify")).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    #[test]
    fn an_envoy_is_found_by_its_bootstrap() {
        let of = |bootstrap: &PathBuf| running_envoys([bootstrap])[0];
        let folder = tempfile::tempdir().unwrap();
        let (ours, other) =
            (folder.path().join("bootstrap.json"), folder.path().join("other.json"));
        for file in [&ours, &other] {
            fs::write(file, "{}").unwrap();
        }
        assert_eq!(of(&ours), None);
        // A shell that waits for input, started with the arguments of an Envoy and a relative path.
        let mut stand_in = Command::new("sh")
            .args([
                "-c",
                "ulimit -n 100; read line",
                "envoy",
                "--concurrency=3",
                "--config-path",
                "bootstrap.json",
            ])
            .current_dir(folder.path())
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let limited = || of(&ours).filter(|envoy| envoy.limits.open_files == Some(100));
        let deadline = std::time::Instant::now() + Duration::from_secs(20);
        let found = loop {
            match limited() {
                Some(envoy) => break envoy,
                None if std::time::Instant::now() > deadline => {
                    panic!("not found: {:?}", of(&ours))
                }
                None => std::thread::yield_now(),
            }
        };
        assert_eq!((found.pid, found.limits.workers), (stand_in.id(), Some(3)));
        assert!(
            started(found.pid).unwrap().elapsed().unwrap_or_default() < Duration::from_secs(30)
        );
        let ([first, second, again], held) = survey([&ours, &other, &ours]);
        assert_eq!([first, second, again], [Some(found), None, Some(found)]);
        assert!(held >= inotify_instances_of(std::process::id()));
        assert_eq!(of(&other), None);
        drop(stand_in.stdin.take());
        stand_in.wait().unwrap();
        assert_eq!(of(&ours), None);
    }

    #[test]
    fn held_inotify_instances_are_counted() {
        let before = inotify_instances_of(std::process::id());
        let watcher = notify::recommended_watcher(|_: notify::Result<notify::Event>| {}).unwrap();
        assert!(inotify_instances_of(std::process::id()) > before);
        assert!(survey([]).1 > before);
        assert!(Inotify::read().unwrap().instances.value > 0);
        drop(watcher);
    }

    #[test]
    fn limits_are_parsed_in_the_format_of_linux() {
        let limits = "Limit                     Soft Limit           Hard Limit           Units     \n\
                      Max open files            1024                 524288               files     \n";
        assert_eq!(hard_limit(limits), Some(524_288));
        assert_eq!(hard_limit(&limits.replace("524288", "unlimited")), None);
        assert!(descriptor_limit() > 0 && workers() > 0);
    }
}
