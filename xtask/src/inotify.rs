//! Checks inotify instances before anything starts. By default a user may have 128, each Envoy uses
//! several, and an Envoy that gets none aborts with a backtrace.

use anyhow::{Result, bail};
use rustix::fs::inotify;
use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// The most instances that the end-to-end tests or the demo use at once.
const NEEDED: usize = 80;
/// The kernel's limit for each user.
const LIMIT: &str = "/proc/sys/fs/inotify/max_user_instances";
/// The link target of an instance's file descriptor.
const INSTANCE: &str = "anon_inode:inotify";

/// Checks that this user can get as many instances as a run needs, by allocating them for a moment.
///
/// # Errors
/// When there are too few; the message says which programs hold them and what to do.
pub(crate) fn check() -> Result<()> {
    let taken: Vec<_> =
        (0..NEEDED).map_while(|_| inotify::init(inotify::CreateFlags::CLOEXEC).ok()).collect();
    if taken.len() == NEEDED {
        return Ok(());
    }
    let free = taken.len();
    drop(taken);
    let limit = std::fs::read_to_string(LIMIT).unwrap_or_default();
    bail!(
        "inotify instances of this user: the Envoys of a run need {NEEDED}, but only {free} of {} are free; the others are held by {}; stop a program \
         that you don't need, or raise the limit: sysctl fs.inotify.max_user_instances=1024",
        limit.trim(),
        shown(&holders()),
    )
}

/// This user's programs that hold instances, and how many. Programs whose descriptors cannot be
/// read are left out.
fn holders() -> BTreeMap<String, usize> {
    let user = rustix::process::getuid().as_raw();
    let mut holders = BTreeMap::new();
    for process in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let ours = process.metadata().is_ok_and(|metadata| metadata.uid() == user);
        let count = if ours { instances(&process.path()) } else { 0 };
        if count > 0 {
            let name = std::fs::read_to_string(process.path().join("comm")).unwrap_or_default();
            *holders.entry(name.trim().to_owned()).or_default() += count;
        }
    }
    holders
}

fn instances(process: &Path) -> usize {
    let descriptors = std::fs::read_dir(process.join("fd")).into_iter().flatten().flatten();
    descriptors
        .filter(|fd| std::fs::read_link(fd.path()).is_ok_and(|link| link.as_os_str() == INSTANCE))
        .count()
}

/// Lists programs, those with the most instances first: `envoy (96), code (20)`.
fn shown(holders: &BTreeMap<String, usize>) -> String {
    let mut sorted: Vec<_> = holders.iter().collect();
    sorted.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    let shown: Vec<_> =
        sorted.iter().take(5).map(|(name, count)| format!("{name} ({count})")).collect();
    if shown.is_empty() {
        "programs that this user cannot inspect".to_owned()
    } else {
        shown.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn held_instances_are_counted_and_the_largest_holder_comes_first() {
        let before = holders().values().sum::<usize>();
        let held: Vec<_> =
            (0..3).map(|_| inotify::init(inotify::CreateFlags::CLOEXEC).unwrap()).collect();
        assert!(instances(Path::new("/proc/self")) >= 3, "{before}");
        drop(held);
        let holders = [("code".to_owned(), 20), ("envoy".to_owned(), 96)].into();
        assert_eq!(shown(&holders), "envoy (96), code (20)");
    }

    /// The error if too few instances are free. The test runs in a user namespace with a limit of
    /// eight, so it takes none from other programs.
    #[test]
    fn a_run_with_too_few_instances_is_refused_with_their_holders_and_advice() {
        let set_up = "echo 8 > /proc/sys/user/max_inotify_instances && exec \"$0\" \"$@\"";
        let inside = ["--exact", "inotify::tests::too_few", "--ignored", "--nocapture"];
        let program = std::env::current_exe().unwrap();
        let mut command = std::process::Command::new("unshare");
        command.args(["--user", "--map-root-user", "sh", "-c", set_up]).arg(program).args(inside);
        let output = command.output().unwrap();
        let printed = String::from_utf8_lossy(&output.stdout).into_owned()
            + &String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && printed.contains("1 passed"), "{printed}");
    }

    #[test]
    #[ignore = "needs a user with few instances: run by the test before it"]
    fn too_few() {
        let held: Vec<_> =
            (0..5).map(|_| inotify::init(inotify::CreateFlags::CLOEXEC).unwrap()).collect();
        let message = check().unwrap_err().to_string();
        let begin = format!(
            "inotify instances of this user: the Envoys of a run need {NEEDED}, but only 3 of "
        );
        assert!(
            message.starts_with(&begin) && message.contains("are free; the others are held by "),
            "{message}"
        );
        assert!(
            message.ends_with("or raise the limit: sysctl fs.inotify.max_user_instances=1024"),
            "{message}"
        );
        // The failed check releases all instances that it allocated.
        assert_eq!(check().unwrap_err().to_string(), message);
        drop(held);
    }
}
