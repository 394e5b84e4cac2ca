//! The path to a file through symbolic links.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::path::{Component, Path, PathBuf};

/// The number of links that the kernel follows (`path_resolution(7)`).
const MOST_LINKS: usize = 40;

/// Each symbolic link on the way to `path`, and its end: the file or folder, or the first missing
/// part. If one of these is exchanged, `path` leads elsewhere.
pub(super) fn trail(path: &Path) -> Vec<PathBuf> {
    let mut rest = parts(path);
    let mut here = PathBuf::from("/");
    let mut trail = Vec::new();
    while let Some(part) = rest.pop_front() {
        let next = match part.as_os_str() {
            part if part == ".." => here.parent().map_or_else(|| here.clone(), Path::to_owned),
            part => here.join(part),
        };
        match next.read_link() {
            Ok(target) if trail.len() < MOST_LINKS => {
                trail.push(next);
                if target.is_absolute() {
                    here = PathBuf::from("/");
                }
                rest = parts(&target).into_iter().chain(rest).collect();
            }
            Ok(_) => return trail,
            Err(_) => {
                here = next;
                if here.symlink_metadata().is_err() {
                    break;
                }
            }
        }
    }
    trail.push(here);
    trail
}

fn parts(path: &Path) -> VecDeque<OsString> {
    let part = |part: Component<'_>| match part {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    };
    path.components().filter_map(part).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;
    use tempfile::TempDir;

    #[test]
    fn all_links_of_a_path_and_its_target_are_found() {
        let root = TempDir::new().unwrap();
        let root = root.path().canonicalize().unwrap();
        let path = |name: &str| root.join(name);
        fs::create_dir_all(path("volume/..1")).unwrap();
        fs::create_dir(path("manifests")).unwrap();
        fs::write(path("volume/..1/p.yaml"), "").unwrap();
        symlink("..1", path("volume/..data")).unwrap();
        symlink("..data/p.yaml", path("volume/p.yaml")).unwrap();
        symlink("../volume/p.yaml", path("manifests/p.yaml")).unwrap();
        let links =
            ["manifests/p.yaml", "volume/p.yaml", "volume/..data", "volume/..1/p.yaml"].map(path);
        assert_eq!(trail(&path("manifests/p.yaml")), links);
        fs::remove_dir_all(path("volume/..1")).unwrap();
        assert_eq!(trail(&path("manifests/p.yaml")).last(), Some(&path("volume/..1")));
        symlink("b", path("a")).unwrap();
        symlink("a", path("b")).unwrap();
        assert_eq!(trail(&path("a")).len(), MOST_LINKS);
    }
}
