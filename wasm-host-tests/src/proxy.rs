//! The proxy: threads with VMs, listeners with plugins, connections, and a clock.

use crate::module::FilterModule;
use crate::plugin::{BLACK_HOLE, FailurePolicy, ListenerSettings, Plugin};
use crate::process::{Elsewhere, Process, SharedProcess};
use crate::stream::{Client, ConnectionId, Ending, Handshake, Stream};
use crate::vm::{Failure, Vm};
use anyhow::Result;
use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;
use std::time::{Duration, Instant};

/// A proxy that runs the filter.
///
/// Every method is one event of Envoy's event loop, run to completion: it carries out the deferred
/// actions of the callbacks and everything that follows from them, and deletes closed connections.
pub struct Proxy {
    module: &'static FilterModule,
    pub(crate) process: SharedProcess,
    threads: usize,
    /// Never shrinks, so that indices stay valid.
    pub(crate) vms: Vec<Vm>,
    listeners: BTreeMap<String, Listener>,
    pub(crate) open: HashMap<ConnectionId, (usize, u32)>,
    pub(crate) ended: HashMap<ConnectionId, Stream>,
    last_connection: u64,
}

struct Listener {
    plugin: Plugin,
    settings: Rc<ListenerSettings>,
    /// The VM and the root context on each thread.
    roots: Vec<(usize, u32)>,
    reloaded_at: Option<u64>,
}

/// A refused configuration: Envoy answers the update with a NACK and keeps what was there before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejected(pub Failure);

/// The cost of configuring a plugin in a new VM.
#[derive(Debug, Clone, Copy)]
pub struct Rehearsal {
    /// How long the callbacks ran, including the host's work for them.
    pub time: Duration,
    /// The fuel that they consumed, if metered.
    pub fuel: u64,
    /// The VM's memory afterwards.
    pub memory_bytes: usize,
}

impl Proxy {
    /// A proxy with one worker.
    pub fn new(module: &'static FilterModule) -> Self {
        Self::with_workers(module, 1)
    }

    /// A proxy with `threads` workers, each with its own VMs.
    pub fn with_workers(module: &'static FilterModule, threads: usize) -> Self {
        let mut process = Process::new();
        process.clusters.empty.insert(BLACK_HOLE.to_owned());
        Self {
            module,
            process: Rc::new(RefCell::new(process)),
            threads,
            vms: Vec::new(),
            listeners: BTreeMap::new(),
            open: HashMap::new(),
            ended: HashMap::new(),
            last_connection: 0,
        }
    }

    /// More workers of the same process, with listeners of their own. They share data, metrics and
    /// clock.
    pub fn beside(&self) -> Self {
        let process = Rc::clone(&self.process);
        Self {
            process,
            vms: Vec::new(),
            listeners: BTreeMap::new(),
            ..Self::with_workers(self.module, self.threads)
        }
    }

    /// Makes another thread do `act` after `calls` more calls on shared data, by any thread.
    pub fn interleave(&mut self, calls: usize, act: impl FnOnce() + 'static) {
        self.process.borrow_mut().elsewhere = Some(Elsewhere { calls, act: Box::new(act) });
    }

    /// Returns true if the [interleaved](Self::interleave) action has happened. If it has not, it
    /// never will.
    pub fn stop_interleaving(&mut self) -> bool {
        self.process.borrow_mut().elsewhere.take().is_none()
    }

    /// Gives a listener its plugin, or replaces it (an ECDS update). New connections go to the new
    /// root context; open ones stay with the old one.
    ///
    /// # Errors
    /// [`Rejected`] if the plugin refuses its configuration. This is tested in a temporary VM, so
    /// nothing else is affected, except that data the plugin stored in the shared data remains.
    pub fn configure(&mut self, listener: &str, plugin: Plugin) -> Result<(), Rejected> {
        self.rehearse(&plugin)?;
        let roots = (0..self.threads).map(|thread| self.root_on(thread, &plugin)).collect();
        let settings = Rc::new(ListenerSettings::current());
        let new = Listener { plugin, settings, roots, reloaded_at: None };
        match self.listeners.get_mut(listener) {
            None => drop(self.listeners.insert(listener.to_owned(), new)),
            Some(old) => {
                let settings = Rc::clone(&old.settings);
                let old = std::mem::replace(old, Listener { settings, ..new });
                self.release(&old.roots);
            }
        }
        self.finish_event();
        Ok(())
    }

    /// Configures a plugin in a temporary VM, as Envoy does before each update.
    ///
    /// # Errors
    /// [`Rejected`] if the plugin refuses its configuration.
    pub fn rehearse(&self, plugin: &Plugin) -> Result<Rehearsal, Rejected> {
        let start = self.start_vm(0, plugin);
        let mut vm = start.map_err(|error| Rejected(Failure::Trapped(format!("{error:?}"))))?;
        let started = Instant::now();
        let accepted = vm.configure(&plugin.root).is_some();
        let time = started.elapsed();
        match accepted {
            true => Ok(Rehearsal { time, fuel: vm.fuel, memory_bytes: vm.memory_bytes() }),
            false => Err(Rejected(vm.failure.unwrap_or(Failure::Refused))),
        }
    }

    /// Removes a listener. Its open connections stay.
    pub fn remove(&mut self, listener: &str) {
        if let Some(old) = self.listeners.remove(listener) {
            self.release(&old.roots);
            self.finish_event();
        }
    }

    /// Configures the rest of a listener, for new connections. The default is that of Envoy 1.40.
    pub fn set_listener(&mut self, listener: &str, settings: ListenerSettings) {
        if let Some(listener) = self.listeners.get_mut(listener) {
            listener.settings = Rc::new(settings);
        }
    }

    fn start_vm(&self, thread: usize, plugin: &Plugin) -> Result<Vm> {
        Vm::start(self.module, Rc::clone(&self.process), thread, plugin.vm.clone())
    }

    /// The plugin's root context on a thread. It is found, or else created: in the VM shared with
    /// other plugins, or in a new VM.
    #[allow(
        clippy::expect_used,
        reason = "a filter that comes here is a hole in the gateway, whatever the test is about"
    )]
    fn root_on(&mut self, thread: usize, plugin: &Plugin) -> (usize, u32) {
        let same = |vm: &Vm| vm.thread == thread && vm.key == plugin.vm && vm.is_alive();
        let vm_index = match self.vms.iter().position(same) {
            Some(vm_index) => vm_index,
            None => self.add_vm(thread, plugin),
        };
        let vm = &mut self.vms[vm_index];
        let root = vm.find_root(&plugin.root).or_else(|| vm.configure(&plugin.root));
        let root =
            root.expect("Envoy asks a trial VM first; a worker that refuses then has no filter, and lets all pass");
        if let Some(root) = vm.state_mut().root_mut(root) {
            root.listeners += 1;
        }
        (vm_index, root)
    }

    #[allow(clippy::expect_used, reason = "another VM of this module has just been started")]
    fn add_vm(&mut self, thread: usize, plugin: &Plugin) -> usize {
        self.vms.push(self.start_vm(thread, plugin).expect("the VM starts"));
        self.vms.len() - 1
    }

    fn release(&mut self, roots: &[(usize, u32)]) {
        for &(vm_index, context) in roots {
            if let Some(root) = self.vms[vm_index].state_mut().root_mut(context) {
                root.listeners -= 1;
            }
            self.vms[vm_index].end_unused_root(context);
        }
    }

    /// A client connects to a listener, on the first worker.
    pub fn connect(&mut self, listener: &str, client: Client) -> ConnectionId {
        self.connect_on(0, listener, client)
    }

    /// A client connects to a listener, on the given worker.
    ///
    /// # Panics
    /// If there is no such listener or worker.
    pub fn connect_on(&mut self, thread: usize, listener: &str, client: Client) -> ConnectionId {
        self.reload_failed_vm(thread, listener);
        let Listener { settings, roots, .. } = &self.listeners[listener];
        let ((vm_index, root), settings) = (roots[thread], Rc::clone(settings));
        self.last_connection += 1;
        let id = ConnectionId(self.last_connection);
        if self.vms[vm_index].failure.is_some() {
            let mut stream = Stream::new(id, 0, root, client, settings);
            stream.ending = Some(Ending::ByFailedVm);
            self.ended.insert(id, stream);
            return id;
        }
        let context = self.vms[vm_index].connect(id, root, client, settings);
        self.open.insert(id, (vm_index, context));
        self.finish_event();
        id
    }

    fn reload_failed_vm(&mut self, thread: usize, listener: &str) {
        const BACKOFF_NANOSECONDS: u64 = 1_000_000_000;
        let now = self.process.borrow().now_nanoseconds;
        let Some(settings) = self.listeners.get(listener) else { return };
        let failed = self.vms[settings.roots[thread].0].failure.is_some();
        let due = settings.reloaded_at.is_none_or(|last| now >= last + BACKOFF_NANOSECONDS);
        if failed && due && settings.plugin.failure_policy == FailurePolicy::Reload {
            let plugin = settings.plugin.clone();
            let root = self.root_on(thread, &plugin);
            if let Some(settings) = self.listeners.get_mut(listener) {
                settings.roots[thread] = root;
                settings.reloaded_at = Some(now);
            }
        }
    }

    /// The client sends its certificate, but not yet the proof that it holds the key.
    pub fn client_shows_certificate(&mut self, id: ConnectionId) {
        self.at(id, |vm, context| vm.handshake_arrives(context, Handshake::CertificateRead));
    }

    /// The client sends the rest of its handshake.
    pub fn client_finishes_handshake(&mut self, id: ConnectionId) {
        self.at(id, |vm, context| vm.handshake_arrives(context, Handshake::Finished));
    }

    /// The client sends data.
    pub fn client_sends(&mut self, id: ConnectionId, data: &[u8]) {
        self.at(id, |vm, context| vm.client_sends(context, data, false));
    }

    /// The client ends its half of the connection.
    pub fn client_ends(&mut self, id: ConnectionId) {
        self.at(id, |vm, context| vm.client_sends(context, &[], true));
    }

    /// The client disconnects.
    pub fn client_disconnects(&mut self, id: ConnectionId) {
        self.at(id, |vm, context| vm.close(context, Ending::ByClient));
    }

    /// The server accepts the connection, if its cluster was made slow with [`Proxy::make_slow`].
    pub fn server_accepts(&mut self, id: ConnectionId) {
        self.at(id, Vm::server_accepts);
    }

    /// The server sends data.
    ///
    /// # Panics
    /// If tcp_proxy is not connected to a server, which is a mistake in the test.
    pub fn server_sends(&mut self, id: ConnectionId, data: &[u8]) {
        self.assert_connected(id);
        self.at(id, |vm, context| vm.server_sends(context, data, false));
    }

    /// The server ends its half of the connection.
    ///
    /// # Panics
    /// Like [`Proxy::server_sends`].
    pub fn server_ends(&mut self, id: ConnectionId) {
        self.assert_connected(id);
        self.at(id, |vm, context| vm.server_sends(context, &[], true));
    }

    fn assert_connected(&self, id: ConnectionId) {
        let connected =
            self.stream(id).tcp_proxy.upstream.as_ref().is_some_and(|upstream| upstream.connected);
        assert!(connected, "no server is connected, so none can send");
    }

    /// Applies an event to a connection; does nothing if the connection has ended.
    fn at(&mut self, id: ConnectionId, event: impl FnOnce(&mut Vm, u32)) {
        if let Some(&(vm_index, context)) = self.open.get(&id) {
            event(&mut self.vms[vm_index], context);
            self.finish_event();
        }
    }

    /// Lets this much time pass, tick by tick.
    pub fn advance(&mut self, milliseconds: u64) {
        let end = self.process.borrow().now_nanoseconds + milliseconds * 1_000_000;
        while let Some(next) =
            self.vms.iter().filter_map(Vm::next_tick).min().filter(|next| *next <= end)
        {
            let now = self.process.borrow().now_nanoseconds.max(next);
            self.process.borrow_mut().now_nanoseconds = now;
            for vm in &mut self.vms {
                if vm.next_tick().is_some_and(|due| due <= now) {
                    vm.tick(now);
                }
            }
            self.finish_event();
        }
        self.process.borrow_mut().now_nanoseconds = end;
    }

    /// Corrects the wall clock by this many milliseconds. Ticks are not affected.
    pub fn correct_clock(&mut self, milliseconds: i64) {
        let shift = milliseconds * 1_000_000;
        let mut process = self.process.borrow_mut();
        process.now_nanoseconds = process.now_nanoseconds.saturating_add_signed(shift);
        for timer in self.vms.iter_mut().flat_map(|vm| vm.state_mut().timers.values_mut()) {
            timer.due_nanoseconds = timer.due_nanoseconds.saturating_add_signed(shift);
        }
    }

    fn finish_event(&mut self) {
        for vm in &mut self.vms {
            while !(vm.unsettled.is_empty() && vm.dying.is_empty()) {
                vm.settle();
                for stream in vm.bury() {
                    self.open.remove(&stream.id);
                    self.ended.insert(stream.id, stream);
                }
            }
        }
    }
}
