//! Checks of the roots that this cluster publishes.

use super::Credentials;
use super::validity::Validity;
use crate::bundle::{Fingerprint, Root, dangling};
use crate::document::Limits;
use crate::finding::{Finding, FindingReason, ObjectRef};

/// Roots that were read, and where they come from.
#[derive(Debug, Clone)]
pub struct RootSource<'a> {
    /// The roots.
    pub roots: &'a [Root],
    /// The object that findings are about.
    pub object: ObjectRef,
    /// The field of that object.
    pub field: &'a str,
}

/// Checks the roots. `anchors` are those that the gateway's certificate leads to, if known.
pub(super) fn check(source: &RootSource<'_>, anchors: &[Fingerprint]) -> Credentials {
    let error =
        |reason, message| Finding::error(reason, source.object.clone(), source.field, message);
    let count = source.roots.len();
    let most = Limits::default().roots;
    let too_many = (count > most).then(|| {
        let message = format!(
            "there are {count} roots, and peers accept at most {most} and refuse a document with more; remove old ones"
        );
        error(FindingReason::TooManyRoots, message)
    });
    let intermediates = dangling(source.roots);
    let intermediates =
        intermediates.iter().map(|root| error(FindingReason::IntermediateRoot, intermediate(root)));
    let validity = |root: &Root| {
        Validity::of_root(root, &source.object, source.field, anchors.contains(&root.fingerprint()))
    };
    Credentials {
        faults: too_many.into_iter().chain(intermediates).collect(),
        validities: source.roots.iter().map(validity).collect(),
    }
}

/// Describes a root that is an intermediate, and what to do about it.
pub(crate) fn intermediate(root: &Root) -> String {
    format!(
        "{} ({}) is an intermediate CA: expected a self-signed root, found one that {} issued; Envoy refuses every certificate that it signed; \
         publish the root of that issuer too",
        root.fingerprint(),
        root.subject(),
        root.issuer()
    )
}
