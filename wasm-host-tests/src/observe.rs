//! What a test can observe of a proxy, and how it changes the filter's surroundings.

use crate::abi::{LogLevel, Status};
use crate::process::LogLine;
use crate::proxy::Proxy;
use crate::stream::{ConnectionId, Stream};
use crate::vm::{Failure, Vm};
use std::collections::BTreeMap;

impl Proxy {
    /// A connection, open or ended.
    ///
    /// # Panics
    /// If there never was one with this ID, or if it was [forgotten](Proxy::forget_ended).
    pub fn stream(&self, id: ConnectionId) -> &Stream {
        let open = self
            .open
            .get(&id)
            .and_then(|&(vm_index, context)| self.vms[vm_index].state().stream(context));
        open.unwrap_or_else(|| &self.ended[&id])
    }

    /// Forgets the connections that have ended, which frees their memory: a test may make millions.
    pub fn forget_ended(&mut self) {
        self.ended.clear();
    }

    /// The number of open connections.
    pub fn open_connections(&self) -> usize {
        self.open.len()
    }

    /// Removes the cluster.
    pub fn remove_cluster(&mut self, name: &str) {
        self.process.borrow_mut().clusters.unknown.insert(name.to_owned());
    }

    /// Makes the cluster's server accept only on request.
    pub fn make_slow(&mut self, name: &str) {
        self.process.borrow_mut().clusters.slow.insert(name.to_owned());
    }

    /// The value of a counter or gauge; `None` if it is not defined.
    pub fn metric(&self, name: &str) -> Option<u64> {
        self.process.borrow().metrics.value(name)
    }

    /// All metrics and their values.
    pub fn metrics(&self) -> BTreeMap<String, u64> {
        self.process.borrow().metrics.all().map(|(name, value)| (name.to_owned(), value)).collect()
    }

    /// Sets the lowest level of log lines to keep; `Info` by default.
    pub fn set_log_level(&mut self, level: LogLevel) {
        self.process.borrow_mut().log_level = level;
    }

    /// Takes the log lines.
    pub fn take_log(&mut self) -> Vec<LogLine> {
        std::mem::take(&mut self.process.borrow_mut().log)
    }

    /// Reads a value from the shared data.
    pub fn shared_data(&self, vm_id: &str, key: &str) -> Option<Vec<u8>> {
        self.process
            .borrow()
            .shared_data
            .get(&vm_id.into(), key.as_bytes())
            .map(|(value, _)| value.to_vec())
    }

    /// The keys of the shared data of a `vm_id`.
    pub fn shared_data_keys(&self, vm_id: &str) -> Vec<String> {
        let keys = self.process.borrow().shared_data.keys(vm_id);
        keys.into_iter().map(|key| String::from_utf8_lossy(&key).into_owned()).collect()
    }

    /// Writes a value to the shared data, as any other plugin with this `vm_id` could.
    pub fn set_shared_data(&mut self, vm_id: &str, key: &str, value: &[u8]) {
        self.process.borrow_mut().shared_data.set(&vm_id.into(), key.as_bytes(), value, 0);
    }

    /// Makes a host function do nothing and return this status from now on; `None` makes it work
    /// again.
    pub fn refuse_calls(&mut self, function: &str, status: Option<Status>) {
        let refused = &mut self.process.borrow_mut().refused_calls;
        match status {
            Some(status) => drop(refused.insert(function.to_owned(), status)),
            None => drop(refused.remove(function)),
        }
    }

    /// The number of VMs that have root contexts, including failed ones.
    pub fn vm_count(&self) -> usize {
        self.vms.iter().filter(|vm| vm.has_contexts()).count()
    }

    /// The number of root contexts.
    pub fn root_count(&self) -> usize {
        self.vms.iter().flat_map(|vm| vm.state().roots()).count()
    }

    /// The total number of ticks of all existing root contexts.
    pub fn ticks(&self) -> u64 {
        self.vms.iter().flat_map(|vm| vm.state().roots()).map(|root| root.ticks).sum()
    }

    /// The number of running timers. A timer whose root context is gone keeps running but ticks no
    /// root.
    pub fn timers(&self) -> usize {
        self.vms.iter().map(|vm| vm.state().timers.len()).sum()
    }

    /// The reasons why VMs have failed.
    pub fn failures(&self) -> Vec<&Failure> {
        self.vms.iter().filter_map(|vm| vm.failure.as_ref()).collect()
    }

    /// Makes all VMs fail, as if they had trapped.
    pub fn fail_vms(&mut self) {
        self.vms.iter_mut().for_each(|vm| vm.fail(Failure::Ordered));
    }

    /// Makes the VMs of one worker fail.
    pub fn fail_vms_of(&mut self, thread: usize) {
        self.vms
            .iter_mut()
            .filter(|vm| vm.thread == thread)
            .for_each(|vm| vm.fail(Failure::Ordered));
    }

    /// Assigns numbers to the next contexts from here on, skipping those in use. After 4 billion
    /// contexts, numbers are reused.
    pub fn set_next_context(&mut self, number: u32) {
        self.vms.iter_mut().for_each(|vm| vm.next_context = number);
    }

    /// The fuel that all callbacks have consumed, if metered.
    pub fn fuel(&self) -> u64 {
        self.vms.iter().map(|vm| vm.fuel).sum()
    }

    /// The largest number of closes and resumes that one callback requested. Envoy nests each in
    /// the one before, so thousands would overflow its stack.
    pub fn most_deferred(&self) -> usize {
        self.vms.iter().map(|vm| vm.most_deferred).max().unwrap_or_default()
    }

    /// The memory of all existing VMs in bytes.
    pub fn memory_bytes(&self) -> usize {
        self.vms.iter().filter(|vm| vm.has_contexts()).map(Vm::memory_bytes).sum()
    }
}
