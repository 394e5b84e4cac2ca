//! The table in an object, as the gateway gets it.
//!
//! The stored versions may be lost, or older than the object. So the object itself shows which
//! generations exist.

use super::gateway::{PLUGIN, TABLE};
use fedgate_core::{Table, read_configuration};
use fedgate_envoy::plugin::find_configuration;
use kube::ResourceExt;
use kube::api::DynamicObject;
use std::sync::Arc;

/// A table in an object. Two are equal if they have the same generation and content.
#[derive(Debug, Clone)]
pub(crate) struct InObject(pub(crate) Arc<Table>);

impl InObject {
    /// `None` if the object is not one for a table, or if the table cannot be read.
    pub(crate) fn of(object: &DynamicObject) -> Option<Self> {
        if ![TABLE, PLUGIN].contains(&object.name_any().as_str()) {
            return None;
        }
        let configuration = find_configuration(&object.data)?;
        let (table, _) = read_configuration(configuration.as_bytes()).ok()?;
        Some(Self(Arc::new(table)))
    }
}

impl PartialEq for InObject {
    fn eq(&self, other: &Self) -> bool {
        (self.0.generation(), self.0.hash()) == (other.0.generation(), other.0.hash())
    }
}

impl Eq for InObject {}

/// Returns true if the gateway would take `new` for an older table than `there`, or for the same
/// one although it differs.
pub(crate) fn looks_late(new: &Table, there: &Table) -> bool {
    new.generation() < there.generation()
        || (new.generation() == there.generation() && new.hash() != there.hash())
}

#[cfg(test)]
mod tests {
    use super::*;
    use fedgate_core::TableBuilder;

    fn table(generation: u64, exports: &[&str]) -> Table {
        let mut builder = TableBuilder::new("alpha.example".parse().unwrap());
        for service in exports {
            builder.passthrough(service.parse().unwrap()).unwrap();
        }
        Table::read(builder.build(generation).unwrap()).unwrap()
    }

    #[test]
    fn another_table_needs_a_higher_generation() {
        let there = table(5, &[]);
        assert!(!looks_late(&there, &there));
        let other = |generation| table(generation, &["web.shop.svc.alpha.example:80"]);
        assert!(
            looks_late(&other(4), &there)
                && looks_late(&other(5), &there)
                && !looks_late(&other(6), &there)
        );
        assert!(looks_late(&table(4, &[]), &there), "also when it says the same");
    }
}
