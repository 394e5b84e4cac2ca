//! Manifests for installations without Helm, rendered from the chart so that there is only one
//! source.

use crate::helm;
use crate::root;
use anyhow::{Context, Result, ensure};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The files in `deploy/kubernetes`, each named after its template.
const FILES: [&str; 4] = ["rbac", "admission", "controller", "gateway"];

/// The Kubernetes version to render for. Only the chart's own version check depends on it.
const KUBERNETES: &str = "1.33.0";

/// Placeholders that the reader replaces. Neither is a valid value, so a forgotten one is refused.
const REPLACED: [(&str, &str); 2] =
    [("trust-domain.to.replace", "TRUST_DOMAIN"), ("image/to-replace:0", "IMAGE")];

/// The chart values to render with.
const VALUES: [&str; 4] = [
    "trustDomain=trust-domain.to.replace",
    "image.repository=image/to-replace",
    "image.tag=0",
    "metadata.tls.secretName=fedgate-metadata-tls",
];

/// Additional values for the role that only passthrough needs. Without Helm, the user's own account
/// runs the uninstallation.
const PASSTHROUGH: [&str; 2] = ["gateway.passthrough=true", "uninstall.cleanUp=false"];

/// Additional values for the role that only the Multi-Cluster Services API needs.
const MCS: [&str; 4] = [
    "mcs.exports=true",
    "mcs.imports=true",
    "federatedServices.suffix=svc.clusterset.local",
    "uninstall.cleanUp=false",
];

/// Additional values for the DNS server, which is not part of every installation.
const NAMES: [&str; 2] = ["imports.addresses=240.96.0.0/16", "dns.enabled=true"];

const HEADER: &str =
    "# Rendered from deploy/chart by `cargo xtask generate`. Change that, not this file.\n";

/// The namespace that `helm --create-namespace` would create.
const NAMESPACE: &str = "\
---
apiVersion: v1
kind: Namespace
metadata:
  name: fedgate-system
  labels:
    # Everything in it can do with the least.
    pod-security.kubernetes.io/enforce: restricted
";

/// The expected content of each file.
///
/// # Errors
/// When helm cannot be built, or the chart cannot be rendered.
pub(crate) fn files() -> Result<Vec<(PathBuf, String)>> {
    let helm = helm::helm()?;
    let files = FILES.iter().map(|name| Ok((path(name), file(&helm, name, &[])?)));
    let passthrough = file(&helm, "passthrough", &PASSTHROUGH)
        .map(|text| ("deploy/passthrough/rbac.yaml".into(), text));
    let dns = file(&helm, "dns", &NAMES).map(|text| ("deploy/names/dns.yaml".into(), text));
    let mcs = file(&helm, "mcs", &MCS).map(|text| ("deploy/mcs/rbac.yaml".into(), text));
    files.chain([passthrough, dns, mcs]).collect()
}

fn path(name: &str) -> PathBuf {
    Path::new("deploy/kubernetes").join(format!("{name}.yaml"))
}

fn file(helm: &Path, name: &str, more: &[&str]) -> Result<String> {
    let mut command = Command::new(helm);
    command.current_dir(root()).args([
        "template",
        "fedgate",
        "deploy/chart",
        "--namespace",
        "fedgate-system",
    ]);
    command.args([
        "--kube-version",
        KUBERNETES,
        "--no-hooks",
        "--show-only",
        &format!("templates/{name}.yaml"),
    ]);
    command.args(VALUES.iter().flat_map(|value| ["--set-string", value]));
    command.args(more.iter().flat_map(|value| ["--set", value]));
    let output = command.output().with_context(|| format!("cannot start {command:?}"))?;
    ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    let rendered = cleaned(&String::from_utf8(output.stdout)?);
    Ok(match name {
        "rbac" => format!("{HEADER}{NAMESPACE}{rendered}"),
        _ => format!("{HEADER}{rendered}"),
    })
}

/// Removes what only concerns users of Helm.
fn cleaned(rendered: &str) -> String {
    let lines = rendered
        .lines()
        .map(str::trim_end)
        .filter(|line| !line.starts_with("# Source: ") && !line.is_empty());
    let text: String = lines.flat_map(|line| [line, "\n"]).collect();
    REPLACED.iter().fold(text, |text, (value, word)| text.replace(value, word))
}

#[cfg(test)]
mod tests {
    use super::cleaned;

    #[test]
    fn placeholders_stand_out() {
        let rendered = "---\n# Source: fedgate/templates/x.yaml\nimage: \"image/to-replace:0\"  \n\nvalue: trust-domain.to.replace\n";
        assert_eq!(cleaned(rendered), "---\nimage: \"IMAGE\"\nvalue: TRUST_DOMAIN\n");
    }
}
