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
fn validate_reports_a_low_inotify_limit() {
    let cluster = Cluster::new("alpha");
    let folder = cluster.folder().to_str().unwrap();
    let few = fedgate(5, &["validate", folder]);
    let output = text(&few.stdout);
    assert!(few.status.code() == Some(1), "{output}");
    assert!(
        output.contains("user.max_inotify_instances: expected 12 for this site, found 5"),
        "{output}"
    );
    assert!(output.contains("sysctl"), "{output}");
    let enough = fedgate(12, &["validate", folder]);
    let output = text(&enough.stdout);
    assert!(enough.status.success() && !output.contains("inotify"), "{output}");
}

#[test]
fn a_controller_without_an_inotify_instance_gives_advice() {
    let cluster = Cluster::new("alpha");
    let ended = fedgate(0, &["run", "--dir", cluster.folder().to_str().unwrap()]);
    let output = text(&ended.stderr);
    assert!(!ended.status.success(), "{output}");
    assert!(output.contains("no inotify instance: user.max_inotify_instances is 0"), "{output}");
    crate::readable::assert_readable(&[&output], crate::readable::problems);
}
