//! Where the gateway filter is if no setting says so: next to the program.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

/// The module next to the path the program was called by, or next to the program itself. The two
/// differ if it is called through a link. Falls back to the path where the module should be.
pub fn default_path(file_name: &str) -> PathBuf {
    let called = std::env::args_os().next().unwrap_or_default();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let program = std::env::current_exe().unwrap_or_default();
    let mut candidates = folders(Path::new(&called), &path, &program)
        .into_iter()
        .map(|folder| folder.join(file_name));
    let fallback = program.with_file_name(file_name);
    candidates.find(|file| file.is_file()).unwrap_or(fallback)
}

/// The folders to search. `called` is the program's argument 0, `program` its path with all links
/// resolved.
fn folders(called: &Path, path: &OsStr, program: &Path) -> Vec<PathBuf> {
    let parent = |file: &Path| file.parent().map(Path::to_owned);
    let link = match parent(called) {
        // A bare name: the shell found the program through PATH.
        Some(folder) if folder.as_os_str().is_empty() => {
            std::env::split_paths(path).find(|folder| folder.join(called).is_file())
        }
        folder => folder,
    };
    link.into_iter().chain(parent(program)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_filter_module_is_searched_next_to_a_link_and_its_target() {
        let folder = tempfile::tempdir().unwrap();
        let [bin, other] = ["bin", "other"].map(|name| folder.path().join(name));
        std::fs::create_dir_all(&bin).unwrap();
        std::fs::write(bin.join("fedgate"), "").unwrap();
        let program = other.join("fedgate");
        let path = std::env::join_paths([&other, &bin]).unwrap();
        assert_eq!(folders(Path::new("fedgate"), &path, &program), [bin.clone(), other.clone()]);
        assert_eq!(folders(&bin.join("fedgate"), OsStr::new(""), &program), [bin, other.clone()]);
        assert_eq!(folders(Path::new("kubectl-fedgate"), &path, &program), [other]);
    }
}
