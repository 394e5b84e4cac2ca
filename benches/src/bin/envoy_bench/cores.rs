//! Envoy gets a core of its own, and clients and back ends get the others.

use anyhow::Result;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// The cores of this machine that this process may use, divided.
pub(crate) struct Cores {
    envoy: CpuSet,
    others: CpuSet,
    /// The number of cores for clients and back ends.
    pub(crate) for_clients: usize,
    /// Whether Envoy has a core of its own.
    pub(crate) divided: bool,
}

impl Cores {
    /// Divides the cores, and moves this thread, and all that it starts, to those of the clients.
    pub(crate) fn divide() -> Result<Self> {
        let all = sched_getaffinity(None)?;
        let mut usable = (0..CpuSet::MAX_CPU).filter(|&core| all.is_set(core));
        let (mut envoy, mut others) = (CpuSet::new(), CpuSet::new());
        usable.by_ref().take(1).for_each(|core| envoy.set(core));
        usable.for_each(|core| others.set(core));
        let divided = others.count() > 0;
        if !divided {
            others = all;
        }
        sched_setaffinity(None, &others)?;
        Ok(Self { envoy, others, for_clients: others.count() as usize, divided })
    }

    /// Says who has which cores.
    pub(crate) fn describe(&self) -> String {
        match self.divided {
            true => format!("1 for Envoy, {} for clients and back ends", self.for_clients),
            false => "1 for Envoy, clients and back ends together".to_owned(),
        }
    }

    /// Calls a function that starts a process, which then runs on Envoy's core.
    pub(crate) fn for_envoy<T>(&self, start: impl FnOnce() -> Result<T>) -> Result<T> {
        sched_setaffinity(None, &self.envoy)?;
        let started = start();
        sched_setaffinity(None, &self.others)?;
        started
    }
}
