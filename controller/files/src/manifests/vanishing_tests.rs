//! Accidental ways for a policy to disappear. The last known content stays in force, and a finding
//! says so. If nothing was known, the policy closes.

use super::Manifests;
use super::tests::{Folder, policy, service, services};
use fedgate_federation::Severity;
use fedgate_federation::object::PolicyBody;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

/// A policy that denies gamma everything, and a Service.
fn folder() -> Folder {
    let mut folder = Folder::new();
    folder.put("p.yaml", &policy("p", "{peers: [gamma], services: []}"));
    folder.put("web.yaml", &service("web"));
    assert_in_force(&folder.read(), false, "before");
    folder
}

#[track_caller]
fn assert_in_force(manifests: &Manifests, has_error: bool, what: &str) {
    let denies = |policy: &fedgate_federation::object::PolicyObject| match &policy.body {
        PolicyBody::Spec(spec) => spec.services.as_ref().is_some_and(Vec::is_empty),
        PolicyBody::Unreadable(_) => true,
    };
    assert!(manifests.objects.policies.iter().any(denies), "{what}: the policy is gone");
    let errors: Vec<_> = manifests
        .objects
        .findings
        .iter()
        .filter(|finding| finding.severity == Severity::Error)
        .collect();
    assert_eq!(!errors.is_empty(), has_error, "{what}: {errors:?}");
}

fn run(program: &str, arguments: &[&Path]) {
    assert!(
        Command::new(program).args(arguments).status().unwrap().success(),
        "{program} {arguments:?}"
    );
}

#[test]
fn a_file_that_becomes_something_else_keeps_its_policy() {
    type Change = fn(&Path);
    let changes: [(&str, Change); 7] = [
        ("empty", |file| fs::write(file, "").unwrap()),
        ("blank", |file| fs::write(file, " \n\n\t\n").unwrap()),
        ("zeros, as after a crash", |file| fs::write(file, [0; 512]).unwrap()),
        ("a pipe", |file| run("mkfifo", &[file])),
        ("a device", |file| symlink("/dev/zero", file).unwrap()),
        ("a loop of links", |file| {
            let other = file.with_file_name("other.yaml");
            symlink(&other, file).unwrap();
            symlink(file, &other).unwrap();
        }),
        ("a link whose target is gone", |file| symlink("gone/p.yaml", file).unwrap()),
    ];
    for (what, change) in changes {
        let mut folder = folder();
        fs::remove_file(folder.file("p.yaml")).unwrap();
        change(&folder.file("p.yaml"));
        for _ in 0..2 {
            let manifests = folder.read();
            assert_in_force(&manifests, true, what);
            assert_eq!(services(&manifests), ["web"], "{what}");
            folder.restart();
        }
        // The counterpart: deleting the file revokes the policy.
        fs::remove_file(folder.file("p.yaml")).unwrap();
        let _ = fs::remove_file(folder.file("other.yaml"));
        assert!(folder.read().objects.policies.is_empty(), "{what}");
    }
}

/// Only a person writes a comment, so it is no accident.
#[test]
fn an_empty_file_removes_its_objects() {
    let mut folder = folder();
    folder.put("p.yaml", "# gamma is trusted now\n");
    assert!(folder.read().objects.policies.is_empty());
    folder.put("new.yaml", "");
    assert!(folder.read().objects.findings.is_empty(), "nothing was ever in it");
}

#[test]
fn a_folder_that_becomes_something_else_keeps_its_objects() {
    type Change = fn(&Path);
    let changes: [(&str, Change); 4] = [
        ("a file", |folder| fs::write(folder, "").unwrap()),
        ("a pipe", |folder| run("mkfifo", &[folder])),
        ("a link to itself", |folder| symlink(folder, folder).unwrap()),
        ("gone", |_| {}),
    ];
    for (what, change) in changes {
        let mut folder = folder();
        let manifests = folder.root.path().join("manifests");
        fs::rename(&manifests, folder.root.path().join("aside")).unwrap();
        change(&manifests);
        for _ in 0..2 {
            let read = folder.read();
            assert_in_force(&read, true, what);
            assert_eq!(services(&read), ["web"], "{what}");
            folder.restart();
        }
    }
}

/// Runs a test that needs mounts or another user in its own namespaces, through this same program.
#[track_caller]
fn in_namespaces(test: &str, more: &[&str]) {
    let program = std::env::current_exe().unwrap();
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--mount"]).args(more).arg(program);
    let output = command.args(["--exact", test, "--ignored", "--nocapture"]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let passed = output.status.success() && text.contains("1 passed");
    assert!(passed, "{text}{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn an_unmounted_bind_mount_is_noticed() {
    in_namespaces("manifests::vanishing_tests::a_mount_that_vanishes", &[]);
}

#[test]
#[ignore = "needs mounts: run by the test before it"]
fn a_mount_that_vanishes() {
    let mut folder = Folder::new();
    let (elsewhere, manifests) =
        (folder.root.path().join("elsewhere"), folder.root.path().join("manifests"));
    fs::create_dir(&elsewhere).unwrap();
    fs::write(elsewhere.join("p.yaml"), policy("p", "{peers: [gamma], services: []}")).unwrap();
    run("mount", &[Path::new("--bind"), &elsewhere, &manifests]);
    assert_in_force(&folder.read(), false, "mounted");
    run("umount", &[&manifests]);
    for _ in 0..2 {
        assert_in_force(&folder.read(), true, "unmounted");
        folder.restart();
    }
    run("mount", &[Path::new("--bind"), &elsewhere, &manifests]);
    assert_in_force(&folder.read(), false, "mounted again");
    // The counterpart: a folder that is emptied while it is mounted has no objects.
    fs::remove_file(elsewhere.join("p.yaml")).unwrap();
    assert!(folder.read().objects.policies.is_empty());
    run("umount", &[&manifests]);
}

/// Root can read everything, so the test drops that capability.
#[test]
fn a_removed_permission_removes_no_objects() {
    let drop = ["setpriv", "--bounding-set", "-all", "--inh-caps", "-all"];
    in_namespaces("manifests::vanishing_tests::permissions_taken_away", &drop);
}

#[test]
#[ignore = "needs to be nobody in particular: run by the test before it"]
fn permissions_taken_away() {
    for mode in [0o000, 0o400, 0o100] {
        let mut folder = folder();
        let manifests = folder.root.path().join("manifests");
        fs::set_permissions(&manifests, fs::Permissions::from_mode(mode)).unwrap();
        let read = folder.read();
        fs::set_permissions(&manifests, fs::Permissions::from_mode(0o700)).unwrap();
        assert_in_force(&read, true, &format!("{mode:o}"));
        assert_in_force(&folder.read(), false, "given back");
    }
    let mut folder = folder();
    fs::set_permissions(folder.file("p.yaml"), fs::Permissions::from_mode(0o000)).unwrap();
    assert_in_force(&folder.read(), true, "the file");
}
