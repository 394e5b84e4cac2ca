//! The limits that the kernel sets for processes on this machine.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::fs;

/// How many inotify instances a site needs: one for the controller, seven for the gateway, four for
/// the egress.
pub const INOTIFY_INSTANCES: u64 = 12;
/// The most folders that they watch.
pub const INOTIFY_WATCHES: u64 = 64;

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
pub(crate) fn inotify_instances_of(pid: u32) -> u64 {
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    let targets = entries.filter_map(|entry| fs::read_link(entry.path()).ok());
    targets.map(|target| u64::from(target.as_os_str() == "anon_inode:inotify")).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn held_inotify_instances_are_counted() {
        let before = inotify_instances_of(std::process::id());
        let watcher = notify::recommended_watcher(|_: notify::Result<notify::Event>| {}).unwrap();
        assert!(inotify_instances_of(std::process::id()) > before);
        assert!(Inotify::read().unwrap().instances.value > 0);
        drop(watcher);
    }

    #[test]
    fn limits_of_this_process_are_known() {
        assert!(descriptor_limit() > 0 && workers() > 0);
    }
}
