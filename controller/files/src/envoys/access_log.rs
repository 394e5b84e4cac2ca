//! Whether the gateway's Envoy can open its access log. If it cannot, it refuses its listener.

use crate::settings::Settings;
use fedgate_federation::{Finding, FindingReason, ObjectRef};
use std::path::Path;

/// The finding about a file that cannot be opened.
pub(crate) fn finding(settings: &Settings) -> Option<Finding> {
    let path = settings.gateway.access_log.as_deref()?;
    let message = format!(
        "expected a file that the gateway's Envoy can create, found {} ({}): this Envoy refuses its \
         listener, so no peer gets in; correct it, and restart this Envoy",
        obstacle(path)?,
        path.display()
    );
    let cluster = ObjectRef::cluster(settings.trust_domain.as_str());
    Some(Finding::error(FindingReason::NotWritten, cluster, "gateway.accessLog", message))
}

fn obstacle(path: &Path) -> Option<&'static str> {
    match path.metadata() {
        Ok(found) => found.is_dir().then_some("a folder"),
        Err(_) if path.parent().is_some_and(Path::is_dir) => None,
        Err(_) => Some("no folder for it"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_that_cannot_be_opened_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let found = |file: &str| {
            let text = format!(
                "trustDomain: alpha.example\ngateway: {{listen: 127.0.0.1:1, accessLog: {file}}}\n\
                 metadata: {{listen: 127.0.0.1:2, plain: true}}\n\
                 identity: {{certificateChain: a, privateKey: b, roots: c}}\n"
            );
            let settings = Settings::parse(folder.path(), &text).unwrap();
            finding(&settings).map(|finding| finding.to_string())
        };
        std::fs::write(folder.path().join("old.log"), "").unwrap();
        std::fs::create_dir(folder.path().join("logs")).unwrap();
        for good in ["new.log", "old.log", "logs/new.log", "/dev/stdout"] {
            assert_eq!(found(good), None, "{good}");
        }
        for (bad, why) in [("logs", "found a folder"), ("none/new.log", "found no folder for it")] {
            let text = found(bad).unwrap();
            assert!(
                text.contains("gateway.accessLog: not_written") && text.contains(why),
                "{text}"
            );
        }
    }
}
