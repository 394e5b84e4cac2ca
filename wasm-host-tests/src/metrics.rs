//! Metrics: names belong to the process, numbers to a VM.

use crate::abi::Status;
use std::collections::BTreeMap;

/// The type of a metric, which is the low two bits of its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum MetricType {
    /// A value that only grows.
    Counter = 0,
    /// A value that is set.
    Gauge = 1,
    /// Collects values; cannot be read back.
    Histogram = 2,
}

impl MetricType {
    fn from_number(number: u32) -> Option<Self> {
        [Self::Counter, Self::Gauge, Self::Histogram].get(number as usize).copied()
    }
}

/// The values, by type and name. Counters and gauges are shared by all VMs and workers, so a count
/// made in `proxy_on_configure` is made once per VM.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    values: BTreeMap<(MetricType, String), u64>,
}

impl Metrics {
    pub(crate) fn value(&self, name: &str) -> Option<u64> {
        let of = |kind| self.values.get(&(kind, name.to_owned())).copied();
        of(MetricType::Counter).or_else(|| of(MetricType::Gauge))
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = (&str, u64)> {
        self.values.iter().map(|((_, name), value)| (name.as_str(), *value))
    }
}

/// The metrics that one VM has defined, and its numbers for them. A number is 4 times the index
/// among the metrics of its type, plus the type. So the first counter has the number 0. Defining a
/// name again gives a new number for the same metric.
#[derive(Debug, Default)]
pub(crate) struct MetricNumbers {
    names: [Vec<String>; 3],
}

impl MetricNumbers {
    pub(crate) fn define(
        &mut self,
        metrics: &mut Metrics,
        kind: u32,
        name: &str,
    ) -> Result<u32, Status> {
        let kind = MetricType::from_number(kind).ok_or(Status::BadArgument)?;
        metrics.values.entry((kind, name.to_owned())).or_default();
        let names = &mut self.names[kind as usize];
        names.push(name.to_owned());
        Ok((names.len() as u32 - 1) * 4 + kind as u32)
    }

    fn find(&self, number: u32) -> Result<(MetricType, String), Status> {
        let kind = MetricType::from_number(number & 3).ok_or(Status::BadArgument)?;
        let name = self.names[kind as usize].get(number as usize / 4).ok_or(Status::NotFound)?;
        Ok((kind, name.clone()))
    }

    /// A counter accepts only positive offsets, a gauge any, and a histogram none.
    pub(crate) fn increment(
        &self,
        metrics: &mut Metrics,
        number: u32,
        offset: i64,
    ) -> Result<(), Status> {
        let key = self.find(number)?;
        if key.0 == MetricType::Histogram || (key.0 == MetricType::Counter && offset <= 0) {
            return Err(Status::BadArgument);
        }
        let value = metrics.values.entry(key).or_default();
        *value = value.wrapping_add_signed(offset);
        Ok(())
    }

    /// Sets a gauge, but *adds* to a counter.
    pub(crate) fn record(
        &self,
        metrics: &mut Metrics,
        number: u32,
        new: u64,
    ) -> Result<(), Status> {
        let key = self.find(number).map_err(|_| Status::NotFound)?;
        let kind = key.0;
        let value = metrics.values.entry(key).or_default();
        *value = if kind == MetricType::Gauge { new } else { *value + new };
        Ok(())
    }

    pub(crate) fn get(&self, metrics: &Metrics, number: u32) -> Result<u64, Status> {
        match self.find(number)? {
            (MetricType::Histogram, _) => Err(Status::BadArgument),
            key => metrics.values.get(&key).copied().ok_or(Status::NotFound),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metric_ids_are_numbered_as_in_envoy() {
        let (mut metrics, mut numbers) = (Metrics::default(), MetricNumbers::default());
        assert_eq!(numbers.define(&mut metrics, 0, "a"), Ok(0));
        assert_eq!(numbers.define(&mut metrics, 1, "g"), Ok(1));
        assert_eq!(numbers.define(&mut metrics, 0, "b"), Ok(4));
        assert_eq!(numbers.define(&mut metrics, 0, "a"), Ok(8));
        assert_eq!(numbers.define(&mut metrics, 3, "x"), Err(Status::BadArgument));
        numbers.increment(&mut metrics, 0, 2).unwrap();
        numbers.increment(&mut metrics, 8, 1).unwrap();
        assert_eq!(numbers.get(&metrics, 0), Ok(3));
    }

    #[test]
    fn counters_grow_and_gauges_are_set() {
        let (mut metrics, mut numbers) = (Metrics::default(), MetricNumbers::default());
        let (c, g) = (
            numbers.define(&mut metrics, 0, "c").unwrap(),
            numbers.define(&mut metrics, 1, "g").unwrap(),
        );
        assert_eq!(numbers.increment(&mut metrics, c, 0), Err(Status::BadArgument));
        assert_eq!(numbers.increment(&mut metrics, c, -1), Err(Status::BadArgument));
        assert_eq!(numbers.increment(&mut metrics, 400, 1), Err(Status::NotFound));
        numbers.record(&mut metrics, c, 5).unwrap();
        numbers.record(&mut metrics, c, 5).unwrap();
        numbers.record(&mut metrics, g, 7).unwrap();
        numbers.increment(&mut metrics, g, -3).unwrap();
        assert_eq!(
            (metrics.value("c"), metrics.value("g"), metrics.value("x")),
            (Some(10), Some(4), None)
        );
    }
}
