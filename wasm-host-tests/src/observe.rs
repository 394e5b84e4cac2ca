//! What a test sees of a proxy, and how it changes what is around the filter.

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
    /// When there never was one with this number, or it was [forgotten](Proxy::forget_ended).
    pub fn stream(&self, id: ConnectionId) -> &Stream {
        let open = self.open.get(&id).and_then(|&(place, context)| self.vms[place].state().stream(context));
        open.unwrap_or_else(|| &self.ended[&id])
    }

    /// Forgets the connections that have ended: whoever makes millions of them needs the memory.
    pub fn forget_ended(&mut self) {
        self.ended.clear();
    }

    /// How many connections are open.
    pub fn open_connections(&self) -> usize {
        self.open.len()
    }

    /// The cluster exists no more.
    pub fn remove_cluster(&mut self, name: &str) {
        self.process.borrow_mut().clusters.unknown.insert(name.to_owned());
    }

    /// The cluster's server accepts only when it is told to.
    pub fn make_slow(&mut self, name: &str) {
        self.process.borrow_mut().clusters.slow.insert(name.to_owned());
    }

    /// A counter's or gauge's value; `None` when nobody has defined it.
    pub fn metric(&self, name: &str) -> Option<u64> {
        self.process.borrow().metrics.value(name)
    }

    /// All metrics and their values.
    pub fn metrics(&self) -> BTreeMap<String, u64> {
        self.process.borrow().metrics.all().map(|(name, value)| (name.to_owned(), value)).collect()
    }

    /// From which level on log lines are kept; `Info` at first.
    pub fn set_log_level(&mut self, level: LogLevel) {
        self.process.borrow_mut().log_level = level;
    }

    /// Takes the log lines.
    pub fn take_log(&mut self) -> Vec<LogLine> {
        std::mem::take(&mut self.process.borrow_mut().log)
    }

    /// A value of the shared data.
    pub fn shared_data(&self, vm_id: &str, key: &str) -> Option<Vec<u8>> {
        self.process.borrow().shared_data.get(&vm_id.into(), key.as_bytes()).map(|(value, _)| value.to_vec())
    }

    /// The keys of the shared data of a `vm_id`.
    pub fn shared_data_keys(&self, vm_id: &str) -> Vec<String> {
        let keys = self.process.borrow().shared_data.keys(vm_id);
        keys.into_iter().map(|key| String::from_utf8_lossy(&key).into_owned()).collect()
    }

    /// Puts a value into the shared data, as any other plugin with this `vm_id` could.
    pub fn set_shared_data(&mut self, vm_id: &str, key: &str, value: &[u8]) {
        self.process.borrow_mut().shared_data.set(&vm_id.into(), key.as_bytes(), value, 0);
    }

    /// A host function answers with this status from now on and does nothing; `None` makes it work again.
    pub fn refuse_calls(&mut self, function: &str, status: Option<Status>) {
        let refused = &mut self.process.borrow_mut().refused_calls;
        match status {
            Some(status) => drop(refused.insert(function.to_owned(), status)),
            None => drop(refused.remove(function)),
        }
    }

    /// How many VMs are there: with root contexts, or failed.
    pub fn vm_count(&self) -> usize {
        self.vms.iter().filter(|vm| vm.has_contexts()).count()
    }

    /// How many root contexts there are.
    pub fn root_count(&self) -> usize {
        self.vms.iter().flat_map(|vm| vm.state().roots()).count()
    }

    /// How many ticks all root contexts have got that are still there.
    pub fn ticks(&self) -> u64 {
        self.vms.iter().flat_map(|vm| vm.state().roots()).map(|root| root.ticks).sum()
    }

    /// How many timers run. One whose root context has gone runs on and ticks nobody.
    pub fn timers(&self) -> usize {
        self.vms.iter().map(|vm| vm.state().timers.len()).sum()
    }

    /// Why VMs have failed.
    pub fn failures(&self) -> Vec<&Failure> {
        self.vms.iter().filter_map(|vm| vm.failure.as_ref()).collect()
    }

    /// The VMs fail, as if they had been trapped.
    pub fn fail_vms(&mut self) {
        self.vms.iter_mut().for_each(|vm| vm.fail(Failure::Ordered));
    }

    /// The VMs of one worker fail.
    pub fn fail_vms_of(&mut self, thread: usize) {
        self.vms.iter_mut().filter(|vm| vm.thread == thread).for_each(|vm| vm.fail(Failure::Ordered));
    }

    /// The next contexts get numbers from here on, if they are not in use: after 4 billion of them they come again.
    pub fn set_next_context(&mut self, number: u32) {
        self.vms.iter_mut().for_each(|vm| vm.next_context = number);
    }

    /// How much fuel all callbacks have consumed, if it is metered.
    pub fn fuel(&self) -> u64 {
        self.vms.iter().map(|vm| vm.fuel).sum()
    }

    /// The most closes and resumes that a single callback has asked for. Envoy does each inside of the one before, so
    /// thousands of them would end its stack.
    pub fn most_deferred(&self) -> usize {
        self.vms.iter().map(|vm| vm.most_deferred).max().unwrap_or_default()
    }

    /// Bytes of memory of all VMs that are there.
    pub fn memory_bytes(&self) -> usize {
        self.vms.iter().filter(|vm| vm.has_contexts()).map(Vm::memory_bytes).sum()
    }
}
