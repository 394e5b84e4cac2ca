use super::ExitStatus;
use anyhow::{Context, Result};
use clap::Args;
use fedgate_kubernetes::crd;

/// Prints a CustomResourceDefinition, as `cargo xtask generate` writes it into
/// `deploy/kubernetes/crds/`.
#[derive(Debug, Args)]
pub(crate) struct Crd {
    /// istiofederations, federationpolicies or federatedservices
    plural: String,
}

impl Crd {
    pub(super) fn run(self) -> Result<ExitStatus> {
        let definition = crd::definitions()
            .into_iter()
            .find(|definition| definition.spec.names.plural == self.plural);
        let definition = definition.with_context(|| {
            format!(
                "expected istiofederations, federationpolicies or federatedservices, found {:?}",
                self.plural
            )
        })?;
        print!("{}", crd::yaml(&definition)?);
        Ok(ExitStatus::Success)
    }
}
