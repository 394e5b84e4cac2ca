//! Checks of the metadata endpoint's certificate. Who signed it is for the peers to judge: each has
//! its own roots, or a `ca`.

use super::leaf::Chain;
use super::source::Source;
use super::validity::{CertificateRole, Validity};
use super::{Credentials, key};
use crate::finding::FindingReason;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::public_key::PublicKey;

pub(super) fn check(chain: &Source<'_>, key: &Source<'_>) -> Credentials {
    let read = chain.bytes.as_ref().map_err(Clone::clone).and_then(|bytes| Chain::read(bytes));
    let leaf = read
        .as_ref()
        .map_err(Clone::clone)
        .and_then(|read| read.parse().map(|mut all| all.swap_remove(0)));
    let leaf = match leaf {
        Ok(leaf) => leaf,
        Err(why) => {
            let faults = vec![match chain.bytes {
                Ok(_) => chain.misplaced(FindingReason::InvalidCertificate, &why),
                Err(_) => chain.error(FindingReason::InvalidCertificate, why),
            }];
            return Credentials { faults, validities: Vec::new() };
        }
    };
    let faults = [names(&leaf), usage(&leaf), rsa(&leaf)].into_iter().flatten();
    let mut faults: Vec<_> = faults.map(|why| chain.unfit(&why)).collect();
    faults.extend(key::check(key, leaf.public_key()));
    let validity = Validity::of(&leaf, CertificateRole::Endpoint, &chain.object, chain.field);
    Credentials { faults, validities: validity.into_iter().collect() }
}

fn names(leaf: &X509Certificate<'_>) -> Option<String> {
    let names = leaf
        .subject_alternative_name()
        .ok()
        .flatten()
        .map(|extension| &extension.value.general_names);
    let is_host = |name: &GeneralName<'_>| {
        matches!(name, GeneralName::DNSName(_) | GeneralName::IPAddress(_))
    };
    match names.into_iter().flatten().any(is_host) {
        true => None,
        false => Some(
            "it names no host, so peers refuse it: expected the host of the metadata endpoint's URL as a SAN of type DNS or IP, found none; \
             a common name (CN) does not count"
                .to_owned(),
        ),
    }
}

fn usage(leaf: &X509Certificate<'_>) -> Option<String> {
    let usage = leaf.extended_key_usage().ok().flatten()?.value;
    let message = "its extended key usage lacks serverAuth, so peers refuse it: expected a certificate for a server";
    (!usage.any && !usage.server_auth).then(|| message.to_owned())
}

fn rsa(leaf: &X509Certificate<'_>) -> Option<String> {
    let Ok(PublicKey::RSA(rsa)) = leaf.public_key().parsed() else { return None };
    let bits = rsa.key_size();
    (bits < 2048).then(|| {
        format!(
            "peers refuse its key: expected an RSA key of at least 2048 bits, found one of {bits}"
        )
    })
}
