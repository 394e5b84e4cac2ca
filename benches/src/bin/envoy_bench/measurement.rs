//! The results: what is written as CSV, and what the page and its plots are made of.

#[cfg(test)]
use crate::{operation::Operation, variant::Variant};
use anyhow::{Context, Result};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::path::Path;

const COSTS: &str = "costs.csv";
const TABLES: &str = "tables.csv";
const INSTRUCTIONS: &str = "instructions.csv";
const CIRCUMSTANCES: &str = "circumstances.csv";

/// The results of a run.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Results {
    pub(crate) costs: Vec<Cost>,
    pub(crate) tables: Vec<TableCost>,
    pub(crate) instructions: Vec<Instructions>,
    pub(crate) circumstances: Vec<Circumstance>,
}

/// What an operation costs at a gateway: medians of all rounds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Cost {
    pub(crate) rows: usize,
    pub(crate) gateway: String,
    pub(crate) operation: String,
    /// Envoy's CPU time.
    pub(crate) cpu_us: f64,
    /// The CPU time against no authorization in the same round: the median and the quartiles.
    pub(crate) ratio: Option<f64>,
    pub(crate) ratio_q1: Option<f64>,
    pub(crate) ratio_q3: Option<f64>,
    pub(crate) per_second: f64,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    /// How much of its core Envoy used.
    pub(crate) envoy_busy: f64,
    /// How much of their cores clients and back ends used.
    pub(crate) clients_busy: f64,
}

/// What a table costs a gateway.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct TableCost {
    pub(crate) rows: usize,
    pub(crate) gateway: String,
    /// Resident, with one worker, after all connections.
    pub(crate) memory_mib: f64,
    /// What each further worker takes.
    pub(crate) worker_mib: Option<f64>,
    /// From Envoy's start until it accepts clients.
    pub(crate) start_ms: f64,
    /// From the file with the new table to its first effect.
    pub(crate) change_ms: Option<f64>,
    /// Requests on open connections: without changes, and while the table changes.
    pub(crate) p99_before_ms: Option<f64>,
    pub(crate) p99_during_ms: Option<f64>,
    pub(crate) longest_ms: Option<f64>,
    /// How many open connections the changes ended.
    pub(crate) cut: Option<usize>,
}

/// How many instructions Envoy executes for an operation, in user space.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Instructions {
    pub(crate) rows: usize,
    pub(crate) gateway: String,
    pub(crate) operation: String,
    pub(crate) thousands: f64,
}

/// Something about the machine or the run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Circumstance {
    pub(crate) what: String,
    pub(crate) value: String,
}

#[cfg(test)]
impl Cost {
    /// New connections with 10 rows, for tests: the median of the ratio, and how far the quartiles
    /// are from it.
    pub(crate) fn of_connection(gateway: Variant, ratio: f64, spread: f64) -> Self {
        Self {
            rows: 10,
            gateway: gateway.name().to_owned(),
            operation: Operation::Connection.name().to_owned(),
            cpu_us: ratio * 600.0,
            ratio: Some(ratio),
            ratio_q1: Some(ratio - spread),
            ratio_q3: Some(ratio + spread),
            per_second: 1.0,
            p50_us: 1.0,
            p99_us: 1.0,
            envoy_busy: 1.0,
            clients_busy: 0.5,
        }
    }
}

impl Results {
    /// Reads the results in a folder.
    pub(crate) fn read(folder: &Path) -> Result<Self> {
        Ok(Self {
            costs: read(&folder.join(COSTS))?,
            tables: read(&folder.join(TABLES))?,
            instructions: read(&folder.join(INSTRUCTIONS))?,
            circumstances: read(&folder.join(CIRCUMSTANCES))?,
        })
    }

    /// Writes them into a folder.
    pub(crate) fn write(&self, folder: &Path) -> Result<()> {
        write(&folder.join(COSTS), &self.costs)?;
        write(&folder.join(TABLES), &self.tables)?;
        write(&folder.join(INSTRUCTIONS), &self.instructions)?;
        write(&folder.join(CIRCUMSTANCES), &self.circumstances)
    }

    pub(crate) fn cost(&self, rows: usize, gateway: &str, operation: &str) -> Option<&Cost> {
        self.costs.iter().find(|cost| {
            cost.rows == rows && cost.gateway == gateway && cost.operation == operation
        })
    }

    pub(crate) fn table(&self, rows: usize, gateway: &str) -> Option<&TableCost> {
        self.tables.iter().find(|table| table.rows == rows && table.gateway == gateway)
    }

    /// The sizes of the table at which an operation was measured, in order.
    pub(crate) fn sizes(&self, operation: &str) -> Vec<usize> {
        let costs = self.costs.iter().filter(|cost| cost.operation == operation);
        let mut sizes: Vec<_> = costs.map(|cost| cost.rows).collect();
        sizes.sort_unstable();
        sizes.dedup();
        sizes
    }
}

fn read<T: DeserializeOwned>(file: &Path) -> Result<Vec<T>> {
    let shown = || format!("cannot read {}", file.display());
    let mut reader = csv::Reader::from_path(file).with_context(shown)?;
    reader.deserialize().collect::<Result<_, _>>().with_context(shown)
}

fn write<T: Serialize>(file: &Path, records: &[T]) -> Result<()> {
    let shown = || format!("cannot write {}", file.display());
    let mut writer = csv::Writer::from_path(file).with_context(shown)?;
    records.iter().try_for_each(|record| writer.serialize(record)).with_context(shown)?;
    writer.flush().with_context(shown)
}
