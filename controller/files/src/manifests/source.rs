//! All files of the folder together.

use super::endpoints::{self, Endpoints};
use super::folder::{self, Entry, Role};
use super::kind::ObjectId;
use super::last_good::LastGood;
use super::manifest::{self, Bytes};
use super::merge::{InForce, merge};
use super::mount::is_mount;
use super::object::{Found, Object};
use crate::yaml::Limits;
use fedgate_core::TrustDomain;
use fedgate_federation::object::Objects;
use fedgate_federation::{Finding, FindingReason, ObjectRef};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet, btree_map};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Everything that the folder says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Manifests {
    /// The objects, and findings about the files.
    pub objects: Objects,
    /// The addresses of local workloads for each Service port.
    pub endpoints: Endpoints,
    /// A file is being written, so the folder must be read again soon.
    pub unfinished: bool,
}

/// The folder, and its last content.
#[derive(Debug)]
pub struct ManifestSource {
    folder: PathBuf,
    trust_domain: TrustDomain,
    limits: Limits,
    files: BTreeMap<String, File>,
    last_good: Option<LastGood>,
    /// Whether the folder has been read since the start.
    has_read: bool,
}

/// A file as last read. `content` is `None` if it has not been read since the start.
#[derive(Debug)]
struct File {
    content: Option<[u8; 32]>,
    in_force: InForce,
    /// Since when it has been observed being written, if it is.
    written_since: Option<Instant>,
}

/// A file that changed within this time may change further.
const REST: Duration = Duration::from_millis(40);
/// A file that is being written for this long causes a finding.
const LONG: Duration = Duration::from_secs(10);

impl ManifestSource {
    /// The manifests in `folder`, for the cluster with this trust domain. The last good content of
    /// files is kept in `state`.
    pub fn new(folder: &Path, state: &Path, trust_domain: &TrustDomain) -> Self {
        let mut source = Self::without_memory(folder, trust_domain);
        let mut last_good = LastGood::new(state);
        let objects = last_good.load(|file| source.shown(file), &source.limits);
        let file = |objects| File {
            content: None,
            in_force: InForce { objects, ..InForce::default() },
            written_since: None,
        };
        source.files = objects.into_iter().map(|(name, objects)| (name, file(objects))).collect();
        source.last_good = Some(last_good);
        source
    }

    /// As [`Self::new`], but for a single read, as in `fedgate validate`. Nothing is kept.
    pub fn without_memory(folder: &Path, trust_domain: &TrustDomain) -> Self {
        let (folder, trust_domain) = (folder.to_owned(), trust_domain.clone());
        Self {
            folder,
            trust_domain,
            limits: Limits::default(),
            files: BTreeMap::new(),
            last_good: None,
            has_read: false,
        }
    }

    /// Reads what has changed. It never fails: an unreadable file becomes a finding, and its last
    /// good content stays.
    pub fn read(&mut self) -> Manifests {
        self.read_but(|_| false, &mut |_, _| {})
    }

    /// As [`Self::read`], and reports after each file how many are read, and how many there are.
    pub fn read_reporting(&mut self, report: &mut dyn FnMut(usize, usize)) -> Manifests {
        self.read_but(|_| false, report)
    }

    /// As [`Self::read`], but skips files that are being written: those in `open`, and those that
    /// changed a moment ago.
    pub fn read_finished(&mut self, open: &BTreeSet<PathBuf>) -> Manifests {
        self.read_but(|path| is_unfinished(path, open), &mut |_, _| {})
    }

    fn read_but(
        &mut self,
        is_unfinished: impl Fn(&Path) -> bool,
        report: &mut dyn FnMut(usize, usize),
    ) -> Manifests {
        let failed = match self.list() {
            Ok(files) => {
                self.read_files(&files, is_unfinished, report);
                None
            }
            Err(message) => Some(self.no_folder(&message)),
        };
        self.has_read = true;
        if let Some(last_good) = &mut self.last_good {
            last_good.save(
                self.files
                    .iter()
                    .map(|(name, file)| (name.as_str(), file.in_force.objects.as_slice())),
            );
        }
        let mut manifests =
            collect(self.files.values().map(|file| &file.in_force), &self.trust_domain);
        manifests.unfinished = self.files.values().any(|file| file.written_since.is_some());
        manifests.objects.findings.extend(failed);
        manifests
            .objects
            .findings
            .extend(self.files.iter().filter_map(|(name, file)| self.written_for_long(name, file)));
        manifests
    }

    fn list(&mut self) -> Result<Vec<Entry>, String> {
        let files = folder::files(&self.folder)?;
        let mounted = is_mount(&self.folder);
        let Some(last_good) = &mut self.last_good else { return Ok(files) };
        if files.is_empty() && last_good.was_mounted() && mounted == Some(false) {
            return Err("the folder is empty, and the file system that was mounted there is gone"
                .to_owned());
        }
        last_good.set_mounted(mounted == Some(true));
        Ok(files)
    }

    fn read_files(
        &mut self,
        files: &[Entry],
        is_unfinished: impl Fn(&Path) -> bool,
        report: &mut dyn FnMut(usize, usize),
    ) {
        let mut before = std::mem::take(&mut self.files);
        for (number, entry) in files.iter().enumerate() {
            report(number, files.len());
            let known = before.remove(&entry.name);
            // At the start, files that have never been read are read at once.
            if (known.is_some() || self.has_read) && is_unfinished(&entry.path) {
                let mut file = known.unwrap_or_else(File::unread);
                file.written_since.get_or_insert_with(Instant::now);
                self.files.insert(entry.name.clone(), file);
                continue;
            }
            // Deleted since the folder was listed.
            let Some(bytes) = manifest::bytes(&entry.path, &self.limits) else { continue };
            let file = self.read_file(entry, &bytes, known);
            self.files.insert(entry.name.clone(), file);
        }
    }

    fn read_file(&self, entry: &Entry, bytes: &Bytes, before: Option<File>) -> File {
        let content = Some(hash(bytes));
        let last = match before {
            Some(file) if file.content == content => return File { written_since: None, ..file },
            Some(file) => file.in_force.objects,
            None => Vec::new(),
        };
        let shown = self.shown(&entry.name);
        let read = match entry.role {
            Role::Manifest if !last.is_empty() && bytes.are_blank() => manifest::emptied(&shown),
            Role::Manifest => manifest::content(bytes, &shown, &self.limits),
            Role::Other | Role::Leftover => {
                manifest::other_content(bytes, entry, &shown, &self.limits)
            }
        };
        File { content, in_force: merge(last, read), written_since: None }
    }

    /// The name of a file in findings: with the folder, relative to the cluster's folder.
    fn shown(&self, name: &str) -> String {
        match self.folder.file_name().and_then(|folder| folder.to_str()) {
            Some(folder) => format!("{folder}/{name}"),
            None => name.to_owned(),
        }
    }

    fn no_folder(&self, message: &str) -> Finding {
        let folder = self.folder.display().to_string();
        let message = format!(
            "{message}; what was known of it stays in force. Restore it, or fix its permissions"
        );
        let object = ObjectRef::new("File", folder.clone()).with_source(Some(folder));
        Finding::error(FindingReason::Unreadable, object, "", message)
    }

    fn written_for_long(&self, name: &str, file: &File) -> Option<Finding> {
        file.written_since.filter(|since| since.elapsed() >= LONG)?;
        let shown = self.shown(name);
        let object = ObjectRef::new("File", shown.clone()).with_source(Some(shown));
        let message = "it is still being written, so what it said before stays in force; close it in the program that writes it";
        Some(Finding::warning(FindingReason::Unreadable, object, "", message))
    }
}

impl File {
    fn unread() -> Self {
        Self { content: None, in_force: InForce::default(), written_since: None }
    }
}

/// Returns true if the file is being written: a program has it `open`, or it changed a moment ago.
pub(crate) fn is_unfinished(path: &Path, open: &BTreeSet<PathBuf>) -> bool {
    let real = || path.canonicalize().is_ok_and(|real| open.contains(&real));
    let age = || std::fs::metadata(path).ok()?.modified().ok()?.elapsed().ok();
    open.contains(path) || (!open.is_empty() && real()) || age().is_some_and(|age| age < REST)
}

fn hash(bytes: &Bytes) -> [u8; 32] {
    match bytes {
        Bytes::Read(bytes) => Sha256::digest(bytes).into(),
        Bytes::NoFile => Sha256::digest("no file").into(),
        Bytes::TooMany => Sha256::digest("too many bytes").into(),
        Bytes::Dangling(target) => Sha256::digest(format!("dangling: {target}")).into(),
        Bytes::Failed(error) => Sha256::digest(format!("failed: {error}")).into(),
    }
}

/// Merges the objects of all files. Of two with the same name the first counts, by file and line.
fn collect<'a>(files: impl Iterator<Item = &'a InForce>, trust_domain: &TrustDomain) -> Manifests {
    let mut objects = Objects::default();
    let mut slices = Vec::new();
    let mut sources = BTreeMap::new();
    for file in files {
        objects.findings.extend(file.findings.iter().cloned());
        objects.policies.extend(file.closing.iter().cloned());
        for found in &file.objects {
            match &found.object {
                // A second policy of the same name must not be dropped: `federate` lets it close.
                Object::Policy(policy) => objects.policies.push(policy.clone()),
                _ if is_duplicate(found, &mut sources, &mut objects.findings) => {}
                Object::Federation(federation) => objects.federations.push(federation.clone()),
                Object::Service(service) => objects.services.push(service.clone()),
                Object::EndpointSlice(slice) => slices.push((found, slice.as_ref())),
                Object::FederatedService(service) => {
                    objects.federated_services.push(service.clone());
                }
            }
        }
    }
    let endpoints =
        endpoints::endpoints(&mut objects.services, &slices, trust_domain, &mut objects.findings);
    endpoints::count(&mut objects.services, &endpoints, trust_domain);
    Manifests { objects, endpoints, unfinished: false }
}

fn is_duplicate<'a>(
    found: &'a Found,
    sources: &mut BTreeMap<&'a ObjectId, &'a str>,
    findings: &mut Vec<Finding>,
) -> bool {
    match sources.entry(&found.id) {
        btree_map::Entry::Vacant(entry) => {
            entry.insert(found.source.as_str());
            false
        }
        btree_map::Entry::Occupied(first) => {
            let message = format!(
                "it is defined in {} already, which is in force; remove one of the two",
                first.get()
            );
            let object = found.id.object(&found.source);
            findings.push(Finding::error(
                FindingReason::DuplicateObject,
                object,
                "metadata.name",
                message,
            ));
            true
        }
    }
}
