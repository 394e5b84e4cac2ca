//! The filter's module, as the controller ships it and as the cluster has it.

use anyhow::{Context, Result, ensure};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use fedgate_envoy::{FilterKind, resource::hash};
use jiff::Timestamp;
use kube::ResourceExt;
use kube::api::DynamicObject;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

/// The ConfigMap with the module. The gateway mounts it.
pub(crate) const MODULES: &str = "fedgate-filter";
/// Its annotation with the time at which each of its files was added.
pub(crate) const ADDED: &str = "fedgate.dev/added";

/// The maximum size of a module in bytes. A ConfigMap may have 1 MiB and holds two modules during
/// an upgrade.
const LARGEST: usize = 500 << 10;

/// A module. Its file name contains its hash, so the content of a file never changes.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Module {
    /// The name of its file.
    pub(crate) file: String,
    /// Its content in base64, as `binaryData` has it.
    pub(crate) packed: Arc<str>,
}

impl Module {
    /// Reads the module that ships with this program.
    ///
    /// # Errors
    /// If the file cannot be read or is not a module, or if it is too large for a ConfigMap.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let bytes = std::fs::read(path).with_context(|| {
            format!(
                "cannot read the gateway filter {}: put fedgate_filter.wasm into the folder of the fedgate program, or set --filter-file; \
                 set --filter-module if the gateway gets it in another way",
                path.display()
            )
        })?;
        ensure!(
            FilterKind::ProxyWasm.is_module(&bytes),
            "--filter-file {}: expected {}",
            path.display(),
            FilterKind::ProxyWasm.format()
        );
        ensure!(
            bytes.len() <= LARGEST,
            "--filter-file {} has {} bytes, and a ConfigMap has room for {LARGEST}; deliver it to the gateway in another way, and set \
             --filter-module",
            path.display(),
            bytes.len()
        );
        Ok(Self::new(&bytes))
    }

    /// The module with these bytes.
    pub(crate) fn new(bytes: &[u8]) -> Self {
        let mut file = hash(bytes);
        file.truncate(16);
        Self { file: file + ".wasm", packed: BASE64_STANDARD.encode(bytes).into() }
    }
}

/// Omits the content.
impl fmt::Debug for Module {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Module({})", self.file)
    }
}

/// The modules in the ConfigMap, with the time at which each was added, where known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Shipped(pub(crate) BTreeMap<String, (Module, Option<Timestamp>)>);

impl Shipped {
    /// Reads the ConfigMap. Skips modules whose content does not match their name.
    pub(crate) fn of(object: &DynamicObject) -> Self {
        let added: BTreeMap<String, Timestamp> = object
            .annotations()
            .get(ADDED)
            .and_then(|annotation| serde_json::from_str(annotation).ok())
            .unwrap_or_default();
        let files = object.data.get("binaryData").and_then(Value::as_object).into_iter().flatten();
        let module = |(name, packed): (&String, &Value)| {
            let bytes = BASE64_STANDARD.decode(packed.as_str()?).ok()?;
            let module = Module::new(&bytes);
            (module.file == *name).then(|| (name.clone(), (module, added.get(name).copied())))
        };
        Self(files.filter_map(module).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const MAGIC: &[u8] = b"\0asm";

    #[test]
    fn modules_that_do_not_match_their_names_are_skipped() {
        let module = Module::new(b"\0asm 1");
        assert!(module.file.len() == 16 + 5 && module.file.ends_with(".wasm"), "{module:?}");
        let added = json!({ &module.file: "2026-11-24T10:00:00Z" }).to_string();
        let read = |packed: &str| {
            let files = json!({ &module.file: packed, "other.wasm": &*module.packed });
            let metadata = json!({ "name": MODULES, "annotations": { ADDED: added } });
            let object = json!({ "metadata": metadata, "binaryData": files });
            Shipped::of(&serde_json::from_value(object).unwrap())
        };
        let shipped = read(&module.packed);
        let (file, (read_back, since)) = shipped.0.first_key_value().unwrap();
        assert_eq!((shipped.0.len(), file, read_back), (1, &module.file, &module));
        assert_eq!(since.unwrap().to_string(), "2026-11-24T10:00:00Z");
        assert_eq!(read("AGFzbQ==").0.len(), 0, "other bytes under its name");
        assert_eq!(read("?").0.len(), 0);
    }

    #[test]
    fn an_unusable_filter_file_is_an_error_that_says_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("filter.wasm");
        let error = || format!("{:#}", Module::read(&file).unwrap_err());
        assert!(error().contains("--filter-file") && error().contains("--filter-module"));
        std::fs::write(&file, "no module").unwrap();
        assert!(error().contains("expected a WebAssembly module"));
        std::fs::write(&file, [MAGIC, &vec![0; LARGEST][..]].concat()).unwrap();
        assert!(error().contains("512004 bytes"), "{}", error());
        std::fs::write(&file, [MAGIC, &vec![0; LARGEST - MAGIC.len()][..]].concat()).unwrap();
        assert_eq!(Module::read(&file).unwrap().file.len(), 21);
    }
}
