//! The credential files for starting an API server. Every key and token is generated at run time.

use crate::authority::{Authority, Leaf};
use anyhow::Result;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

/// The name of the user who may do everything.
pub(super) const ADMIN: &str = "admin";

/// Records each request without bodies. Records a watch at its start, because tests do not wait for
/// its end.
const AUDIT_POLICY: &str = "\
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules: [{level: Metadata}]
";

/// The credentials shared by an API server and its clients.
pub(super) struct Credentials {
    folder: PathBuf,
    authority: Authority,
    admin_token: String,
}

impl Credentials {
    /// Writes the files into a folder.
    pub(super) fn write(folder: PathBuf, name: &str) -> Result<Self> {
        std::fs::create_dir_all(&folder)?;
        let authority = Authority::root(&format!("API server of {name}"))?;
        let serving = Leaf::new().dns("localhost")?.address(IpAddr::V4(Ipv4Addr::LOCALHOST));
        authority.sign(&serving)?.write(&folder, "serving")?;
        let admin_token = uuid::Uuid::new_v4().to_string();
        std::fs::write(
            folder.join("tokens.csv"),
            format!("{admin_token},{ADMIN},1,\"system:masters\"\n"),
        )?;
        let service_accounts = rcgen::KeyPair::generate()?;
        std::fs::write(folder.join("service-accounts.key"), service_accounts.serialize_pem())?;
        std::fs::write(folder.join("service-accounts.pub"), service_accounts.public_key_pem())?;
        std::fs::write(folder.join("audit-policy.yaml"), AUDIT_POLICY)?;
        Ok(Self { folder, authority, admin_token })
    }

    /// The root of the API server's certificate.
    pub(super) fn ca(&self) -> String {
        self.authority.pem()
    }

    pub(super) fn admin_token(&self) -> &str {
        &self.admin_token
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(super) fn audit_log(&self) -> PathBuf {
        self.folder.join("audit.jsonl")
    }

    /// The API server's flags for these files.
    pub(super) fn flags(&self) -> Vec<String> {
        let file = |name: &str| self.folder.join(name).display().to_string();
        vec![
            format!("--tls-cert-file={}", file("serving.pem")),
            format!("--tls-private-key-file={}", file("serving.key")),
            format!("--token-auth-file={}", file("tokens.csv")),
            "--service-account-issuer=https://kubernetes.default.svc".into(),
            format!("--service-account-key-file={}", file("service-accounts.pub")),
            format!("--service-account-signing-key-file={}", file("service-accounts.key")),
            format!("--audit-policy-file={}", file("audit-policy.yaml")),
            format!("--audit-log-path={}", self.audit_log().display()),
            // Never rotate the log.
            "--audit-log-maxsize=0".into(),
        ]
    }
}
