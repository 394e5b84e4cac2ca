//! Files that are being written, and links whose targets change.

use super::tests::{Folder, SOON, expect, expect_nothing, findings, service, services};
use fedgate_process::file_watch::{Changes, watch};
use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;
use tempfile::TempDir;
use tokio::time::timeout;

fn changes(folder: &Folder) -> Changes {
    watch(&[folder.root.path().join("manifests")]).unwrap()
}

/// Reads as the controller does after each change, until exactly these services exist.
async fn until_services(folder: &mut Folder, changes: &mut Changes, expected: &[&str]) {
    let wait = async {
        loop {
            let manifests = folder.source.read_finished(&changes.open_files());
            if services(&manifests) == expected {
                break;
            }
            if manifests.unfinished {
                changes.again_in(std::time::Duration::from_millis(100));
            }
            changes.next().await;
        }
    };
    assert!(timeout(SOON, wait).await.is_ok(), "expected {expected:?}");
}

#[tokio::test]
async fn a_file_is_read_only_after_it_is_closed() {
    let mut folder = Folder::new();
    let two = format!("{}---\n{}", service("cart"), service("web"));
    folder.put("a.yaml", &two);
    folder.put("b.yaml", &service("db"));
    let mut changes = changes(&folder);
    until_services(&mut folder, &mut changes, &["cart", "db", "web"]).await;
    // As a shell does for `kubectl get > FILE`: emptied at once, written later, in two parts.
    let mut file = fs::File::create(folder.file("a.yaml")).unwrap();
    expect(&mut changes, "the file that was emptied").await;
    let open = changes.open_files();
    assert!(open.contains(&folder.file("a.yaml")), "{open:?}");
    let manifests = folder.source.read_finished(&open);
    assert!(
        manifests.unfinished && services(&manifests) == ["cart", "db", "web"],
        "{:?}",
        services(&manifests)
    );
    file.write_all(service("cart").as_bytes()).unwrap();
    file.flush().unwrap();
    // Meanwhile a removal takes effect at once.
    fs::remove_file(folder.file("b.yaml")).unwrap();
    until_services(&mut folder, &mut changes, &["cart", "web"]).await;
    file.write_all(format!("---\n{}", service("shop")).as_bytes()).unwrap();
    drop(file);
    until_services(&mut folder, &mut changes, &["cart", "shop"]).await;
    assert!(changes.open_files().is_empty());
}

#[tokio::test]
async fn a_file_changed_just_now_is_read_later() {
    let mut folder = Folder::new();
    folder.put("a.yaml", &service("web"));
    let none = BTreeSet::new();
    assert_eq!(
        services(&folder.source.read_finished(&none)),
        ["web"],
        "at the start everything is read"
    );
    let mut changes = changes(&folder);
    folder.put("a.yaml", "# nothing\n");
    // The writer may go on.
    let manifests = folder.source.read_finished(&none);
    assert!(services(&manifests) == ["web"] || !manifests.unfinished, "{:?}", findings(&manifests));
    until_services(&mut folder, &mut changes, &[]).await;
}

#[tokio::test]
async fn a_change_of_a_links_target_is_reported() {
    let root = TempDir::new().unwrap();
    let path = |name: &str| root.path().join(name);
    for folder in ["manifests", "volume/..1", "volume/..2"] {
        fs::create_dir_all(path(folder)).unwrap();
    }
    fs::write(path("target.yaml"), "1").unwrap();
    symlink(path("target.yaml"), path("manifests/a.yaml")).unwrap();
    symlink("..1", path("volume/..data")).unwrap();
    symlink("..data/p.yaml", path("volume/p.yaml")).unwrap();
    symlink("../volume/p.yaml", path("manifests/p.yaml")).unwrap();
    let mut changes = watch(&[path("manifests")]).unwrap();
    fs::write(path("target.yaml"), "2").unwrap();
    expect(&mut changes, "a changed target").await;
    fs::remove_file(path("target.yaml")).unwrap();
    expect(&mut changes, "a target that is gone").await;
    fs::write(path("target.yaml"), "3").unwrap();
    expect(&mut changes, "a target that is back").await;
    fs::write(path("volume/..1/p.yaml"), "1").unwrap();
    expect(&mut changes, "the target of a volume").await;
    symlink("..2", path("volume/..tmp")).unwrap();
    fs::rename(path("volume/..tmp"), path("volume/..data")).unwrap();
    expect(&mut changes, "a volume's swap in another folder").await;
    fs::write(path("volume/..2/p.yaml"), "2").unwrap();
    expect(&mut changes, "the new target").await;
    // The counterpart: neighbours of a target do not count.
    fs::write(path("other"), "1").unwrap();
    fs::write(path("volume/..1/p.yaml"), "2").unwrap();
    expect_nothing(&mut changes).await;
}
