//! Finds the Envoys that run on this machine, by Linux's `/proc`.

use crate::machine::inotify_instances_of;
use serde::{Deserialize, Serialize};
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

/// The longest time between two passes over all processes.
const LONGEST: Duration = Duration::from_secs(5);
/// The unit of times in `/proc/PID/stat`. Linux has used hundredths of a second on every machine
/// for decades.
const TICKS_A_SECOND: u64 = 100;

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

/// Finds the Envoys started with these bootstraps, and counts the inotify instances of all
/// processes, in one pass.
pub fn survey<const N: usize>(bootstraps: [&Path; N]) -> ([Option<RunningEnvoy>; N], u64) {
    let mut scan = Scan::new(bootstraps);
    let held = processes().map(|pid| (scan.inspect(pid), inotify_instances_of(pid)).1).sum();
    (scan.found, held)
}

/// The admin address of the Envoy that was started with this bootstrap: what it wrote to the file of
/// its `--admin-address-path`. `None` if it does not run here, or has no such file.
pub fn admin_address(bootstrap: &Path) -> Option<SocketAddr> {
    let bootstrap = bootstrap.canonicalize().ok()?;
    let is_it = |pid: &u32| envoy_of(*pid).is_some_and(|(found, _)| found == bootstrap);
    let written = |pid: u32| {
        let folder = PathBuf::from(format!("/proc/{pid}"));
        let line = fs::read_to_string(folder.join("cmdline")).ok()?;
        let arguments: Vec<_> = line.split('\0').collect();
        let file = value_of(&arguments, "--admin-address-path")?;
        let file = fs::read_link(folder.join("cwd")).unwrap_or_default().join(file);
        fs::read_to_string(file).ok()?.trim().parse().ok()
    };
    processes().filter(is_it).find_map(written)
}

/// Looks for the Envoys started with these bootstraps, again and again.
///
/// It reads all processes only when it has to: when an Envoy is gone or has other limits, when one
/// is missing and a process was started, and every five seconds.
pub struct EnvoySearch<const N: usize> {
    bootstraps: [PathBuf; N],
    found: [Option<RunningEnvoy>; N],
    last: Option<LastScan>,
}

struct LastScan {
    at: Instant,
    /// The youngest process at that time.
    youngest: Option<u32>,
}

impl<const N: usize> EnvoySearch<N> {
    /// Has not looked yet.
    pub fn new(bootstraps: [PathBuf; N]) -> Self {
        Self { bootstraps, found: [None; N], last: None }
    }

    /// The Envoys that run now. Among several with the same bootstrap, the one that may open the
    /// fewest files. `None` if there is none, or it is not visible from here (another machine or
    /// container).
    pub fn look(&mut self) -> [Option<RunningEnvoy>; N] {
        if !self.is_current() {
            self.last = Some(LastScan { at: Instant::now(), youngest: youngest_process() });
            let mut scan = Scan::new(self.bootstraps.each_ref().map(PathBuf::as_path));
            processes().for_each(|pid| scan.inspect(pid));
            self.found = scan.found;
        }
        self.found
    }

    /// Returns true if the last scan would find the same again.
    fn is_current(&self) -> bool {
        let Some(last) = &self.last else { return false };
        let mut known = self.bootstraps.iter().zip(&self.found);
        let is_complete = self.found.iter().all(Option::is_some);
        // A wrapper script turns into an Envoy without a new process, hence the longest time.
        last.at.elapsed() < LONGEST
            && known.all(|(path, found)| found.is_none_or(|envoy| still_runs(path, envoy)))
            && (is_complete || last.youngest.is_some() && youngest_process() == last.youngest)
    }
}

fn still_runs(bootstrap: &Path, envoy: RunningEnvoy) -> bool {
    let is_same = |(path, now): (PathBuf, RunningEnvoy)| {
        now == envoy && bootstrap.canonicalize().is_ok_and(|bootstrap| bootstrap == path)
    };
    envoy_of(envoy.pid).is_some_and(is_same)
}

/// The last process that was started, by the fifth field of `/proc/loadavg`.
fn youngest_process() -> Option<u32> {
    let line = fs::read_to_string("/proc/loadavg").ok()?;
    // Sandboxes without this information write 0.
    line.split_whitespace().nth(4)?.parse().ok().filter(|pid| *pid > 0)
}

/// One pass over all processes.
struct Scan<const N: usize> {
    bootstraps: [Option<PathBuf>; N],
    found: [Option<RunningEnvoy>; N],
}

impl<const N: usize> Scan<N> {
    fn new(bootstraps: [&Path; N]) -> Self {
        Self { bootstraps: bootstraps.map(|path| path.canonicalize().ok()), found: [None; N] }
    }

    fn inspect(&mut self, pid: u32) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    #[test]
    fn an_envoy_is_found_by_its_bootstrap() {
        let of = |bootstrap: &PathBuf| survey([bootstrap]).0[0];
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
        let _watcher = notify::recommended_watcher(|_: notify::Result<notify::Event>| {}).unwrap();
        // Other tests of this process start and stop watching meanwhile.
        let counts_ours = (0..100).any(|_| {
            let (envoys, held) = survey([&ours, &other, &ours]);
            assert_eq!(envoys, [Some(found), None, Some(found)]);
            held >= inotify_instances_of(std::process::id()).max(1)
        });
        assert!(counts_ours);
        assert_eq!(of(&other), None);
        let mut search = EnvoySearch::new([ours.clone()]);
        assert!(!search.is_current());
        assert_eq!(search.look(), [Some(found)]);
        assert!(search.is_current());
        drop(stand_in.stdin.take());
        stand_in.wait().unwrap();
        assert_eq!(of(&ours), None);
        assert!(!search.is_current());
        assert_eq!(search.look(), [None]);
    }

    #[test]
    fn limits_are_parsed_in_the_format_of_linux() {
        let limits = "Limit                     Soft Limit           Hard Limit           Units     \n\
                      Max open files            1024                 524288               files     \n";
        assert_eq!(hard_limit(limits), Some(524_288));
        assert_eq!(hard_limit(&limits.replace("524288", "unlimited")), None);
    }
}
