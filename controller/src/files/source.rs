//! All files together.

use super::endpoints::{self, Endpoints};
use super::folder;
use super::last_good::LastGood;
use super::manifest::{self, Bytes};
use super::merge::{InForce, merge};
use super::object::{Found, Object, ObjectId};
use crate::yaml::Limits;
use fedgate_core::TrustDomain;
use fedgate_federation::object::Objects;
use fedgate_federation::{Finding, FindingReason, ObjectRef};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, btree_map::Entry};
use std::path::{Path, PathBuf};

/// Everything that the folder says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Manifests {
    /// The objects, and what is wrong with the files.
    pub objects: Objects,
    /// Where the local workloads of each Service port are.
    pub endpoints: Endpoints,
}

/// The folder, and what it said before.
#[derive(Debug)]
pub struct ManifestSource {
    folder: PathBuf,
    trust_domain: TrustDomain,
    limits: Limits,
    files: BTreeMap<String, File>,
    last_good: Option<LastGood>,
}

/// A file as it was read last; `content` is `None` for one that is known from before the restart only.
#[derive(Debug)]
struct File {
    content: Option<[u8; 32]>,
    in_force: InForce,
}

impl ManifestSource {
    /// The manifests in `folder` of the cluster with this trust domain. What files say when they are good is kept in `state`.
    pub fn new(folder: &Path, state: &Path, trust_domain: &TrustDomain) -> Self {
        let mut source = Self::without_memory(folder, trust_domain);
        let mut last_good = LastGood::new(state);
        let objects = last_good.load(|file| source.shown(file), &source.limits);
        let file = |objects| File { content: None, in_force: InForce { objects, ..InForce::default() } };
        source.files = objects.into_iter().map(|(name, objects)| (name, file(objects))).collect();
        source.last_good = Some(last_good);
        source
    }

    /// The same for one look, as `fedgate validate` takes it: nothing is kept, and nothing is known from before.
    pub fn without_memory(folder: &Path, trust_domain: &TrustDomain) -> Self {
        let (folder, trust_domain) = (folder.to_owned(), trust_domain.clone());
        Self { folder, trust_domain, limits: Limits::default(), files: BTreeMap::new(), last_good: None }
    }

    /// Reads what has changed. It never fails: what cannot be read is a finding, and what was known of it stays.
    pub fn read(&mut self) -> Manifests {
        let failed = match folder::files(&self.folder) {
            Ok(files) => {
                self.read_files(&files);
                None
            }
            Err(message) => Some(self.no_folder(&message)),
        };
        if let Some(last_good) = &mut self.last_good {
            last_good.save(self.files.iter().map(|(name, file)| (name.as_str(), file.in_force.objects.as_slice())));
        }
        let mut manifests = collect(self.files.values().map(|file| &file.in_force), &self.trust_domain);
        manifests.objects.findings.extend(failed);
        manifests
    }

    fn read_files(&mut self, files: &[(String, PathBuf)]) {
        let mut before = std::mem::take(&mut self.files);
        for (name, path) in files {
            // Gone since the folder was listed: deleted.
            let Some(bytes) = manifest::bytes(path, &self.limits) else { continue };
            let file = self.read_file(name, &bytes, before.remove(name));
            self.files.insert(name.clone(), file);
        }
    }

    fn read_file(&self, name: &str, bytes: &Bytes, before: Option<File>) -> File {
        let content = Some(hash(bytes));
        let last = match before {
            Some(file) if file.content == content => return file,
            Some(file) => file.in_force.objects,
            None => Vec::new(),
        };
        File { content, in_force: merge(last, manifest::content(bytes, &self.shown(name), &self.limits)) }
    }

    /// How findings name a file: with its folder, as one sees it from the cluster's folder.
    fn shown(&self, name: &str) -> String {
        match self.folder.file_name().and_then(|folder| folder.to_str()) {
            Some(folder) => format!("{folder}/{name}"),
            None => name.to_owned(),
        }
    }

    fn no_folder(&self, message: &str) -> Finding {
        let folder = self.folder.display().to_string();
        let message = format!("{message}; what was known of it stays in force. Create it, or mend its permissions");
        let object = ObjectRef::new("File", folder.clone()).from_source(Some(folder));
        Finding::error(FindingReason::Unreadable, object, "", message)
    }
}

fn hash(bytes: &Bytes) -> [u8; 32] {
    match bytes {
        Bytes::Read(bytes) => Sha256::digest(bytes).into(),
        Bytes::NoFile => Sha256::digest("no file").into(),
        Bytes::TooMany => Sha256::digest("too many bytes").into(),
        Bytes::Failed(error) => Sha256::digest(format!("failed: {error}")).into(),
    }
}

/// All files' objects as one. Of two with the same name the first is taken, by file and line.
fn collect<'a>(files: impl Iterator<Item = &'a InForce>, trust_domain: &TrustDomain) -> Manifests {
    let mut objects = Objects::default();
    let mut slices = Vec::new();
    let mut places = BTreeMap::new();
    for file in files {
        objects.findings.extend(file.findings.iter().cloned());
        objects.policies.extend(file.closing.iter().cloned());
        for found in &file.objects {
            match &found.object {
                // A second policy closes, so it must not vanish; `federate` sees to that.
                Object::Policy(policy) => objects.policies.push(policy.clone()),
                _ if is_duplicate(found, &mut places, &mut objects.findings) => {}
                Object::Federation(federation) => objects.federations.push(federation.clone()),
                Object::Service(service) => objects.services.push(service.clone()),
                Object::EndpointSlice(slice) => slices.push((found, slice.as_ref())),
            }
        }
    }
    let endpoints = endpoints::endpoints(&objects.services, &slices, trust_domain, &mut objects.findings);
    Manifests { objects, endpoints }
}

fn is_duplicate<'a>(
    found: &'a Found,
    places: &mut BTreeMap<&'a ObjectId, &'a str>,
    findings: &mut Vec<Finding>,
) -> bool {
    match places.entry(&found.id) {
        Entry::Vacant(place) => {
            place.insert(found.source.as_str());
            false
        }
        Entry::Occupied(first) => {
            let message =
                format!("it is defined in {} already, and that one is taken; remove one of the two", first.get());
            let object = found.id.object(&found.source);
            findings.push(Finding::error(FindingReason::DuplicateObject, object, "metadata.name", message));
            true
        }
    }
}
