//! Kernel limits, tested in user namespaces with low limits.

use crate::cluster::Cluster;
use std::process::{Command, Output};

/// A command of `fedgate` as a user with at most this many inotify instances.
fn fedgate(instances: usize, arguments: &[&str]) -> Output {
    let script =
        format!("echo {instances} > /proc/sys/user/max_inotify_instances && exec \"$0\" \"$@\"");
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "sh", "-c", &script, env!("CARGO_BIN_EXE_fedgate")]);
    command.args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn validate_tells_of_a_limit_that_is_too_low() {
    let cluster = Cluster::new("alpha");
    let folder = cluster.folder().to_str().unwrap();
    let few = fedgate(5, &["validate", folder]);
    let said = text(&few.stdout);
    assert!(few.status.code() == Some(1), "{said}");
    assert!(
        said.contains("user.max_inotify_instances: expected 12 for this site, found 5"),
        "{said}"
    );
    assert!(said.contains("sysctl"), "{said}");
    let enough = fedgate(12, &["validate", folder]);
    let said = text(&enough.stdout);
    assert!(enough.status.success() && !said.contains("inotify"), "{said}");
}

#[test]
fn a_controller_that_gets_no_instance_says_so() {
    let cluster = Cluster::new("alpha");
    let ended = fedgate(0, &["run", "--dir", cluster.folder().to_str().unwrap()]);
    let said = text(&ended.stderr);
    assert!(!ended.status.success(), "{said}");
    assert!(said.contains("no inotify instance: user.max_inotify_instances is 0"), "{said}");
    crate::readable::assert_readable(&[&said], crate::readable::problems);
}
