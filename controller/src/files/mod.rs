//! A folder of manifests as the source.
