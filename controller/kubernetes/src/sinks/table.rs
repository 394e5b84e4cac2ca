//! The table that an object has in it, as the gateway is given it.
//!
//! What is written down of versions may be lost, or be older than the object. So the object itself says which generations there were.

use super::gateway::{PLUGIN, TABLE};
use fedgate_core::{Table, read_configuration};
use fedgate_envoy::plugin::find_configuration;
use kube::ResourceExt;
use kube::api::DynamicObject;
use std::sync::Arc;

/// A table in an object. Two are the same when they have the same generation and content.
#[derive(Debug, Clone)]
pub(crate) struct InObject(pub(crate) Arc<Table>);

impl InObject {
    /// `None`: the object is not one that has a table, or the table cannot be read.
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

/// Whether the gateway would take `new` for a table that is older than `there`, or for the same one.
pub(crate) fn looks_late(new: &Table, there: &Table) -> bool {
    new.generation() < there.generation() || (new.generation() == there.generation() && new.hash() != there.hash())
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
        assert!(looks_late(&other(4), &there) && looks_late(&other(5), &there) && !looks_late(&other(6), &there));
        assert!(looks_late(&table(4, &[]), &there), "also when it says the same");
    }
}
