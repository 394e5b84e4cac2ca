//! A Kubernetes API server, its etcd, and kubectl: those set by `KUBE_APISERVER`, `ETCD` and
//! `KUBECTL`, or pinned releases built from their Go modules into a folder of the project.

use crate::go::{CLUSTER, Module, Program};
use anyhow::{Context, Result};
use std::path::PathBuf;

/// The path of kube-apiserver. Builds it first if necessary.
///
/// # Errors
/// When `KUBE_APISERVER` does not name a file, or kube-apiserver cannot be built; the message says
/// what to do.
pub fn api_server() -> Result<PathBuf> {
    kubernetes("kube-apiserver", "KUBE_APISERVER", "about 3 minutes")
}

/// The path of kubectl. Builds it first if necessary.
///
/// # Errors
/// When `KUBECTL` does not name a file, or kubectl cannot be built; the message says what to do.
pub fn kubectl() -> Result<PathBuf> {
    kubernetes("kubectl", "KUBECTL", "about a quarter of a minute")
}

/// The path of etcd. Builds it first if necessary.
///
/// # Errors
/// When `ETCD` does not name a file, or etcd cannot be built; the message says what to do.
pub fn etcd() -> Result<PathBuf> {
    let program = Program {
        name: "etcd",
        package: "./etcd",
        stamps: Vec::new(),
        tags: "",
        variable: "ETCD",
        takes: "about half a minute",
    };
    Module::new(CLUSTER).program(&program)
}

/// A program of Kubernetes's own module, stamped with the release as its makefile does. An
/// unstamped API server reports v0.0.0, and clients behave accordingly.
fn kubernetes(name: &str, variable: &str, takes: &str) -> Result<PathBuf> {
    let module = Module::new(CLUSTER);
    let version = module.version_of("k8s.io/kubernetes")?;
    let (major, minor) = major_and_minor(&version)?;
    let stamps =
        [format!("gitVersion={version}"), format!("gitMajor={major}"), format!("gitMinor={minor}")];
    let stamps =
        stamps.iter().map(|stamp| format!("k8s.io/component-base/version.{stamp}")).collect();
    let package = format!("k8s.io/kubernetes/cmd/{name}");
    module.program(&Program { name, package: &package, stamps, tags: "", variable, takes })
}

fn major_and_minor(version: &str) -> Result<(&str, &str)> {
    let numbers = version.strip_prefix('v').and_then(|numbers| {
        let (major, rest) = numbers.split_once('.')?;
        Some((major, rest.split_once('.')?.0))
    });
    numbers.with_context(|| format!("expected a version like v1.36.4, found {version:?}"))
}

#[cfg(test)]
mod tests {
    use super::major_and_minor;

    #[test]
    fn a_version_has_a_major_and_a_minor_number() {
        assert_eq!(major_and_minor("v1.36.4").unwrap(), ("1", "36"));
        for bad in ["1.36.4", "v1", "v1.36", ""] {
            assert!(major_and_minor(bad).is_err(), "{bad}");
        }
    }
}
