//! One VM: an instance of the module on one thread of the proxy, with its root contexts and
//! connections.

use crate::abi::CONTINUE;
use crate::module::{FilterModule, Metering, wasm_error};
use crate::plugin::{RootKey, VmKey};
use crate::process::SharedProcess;
use crate::vm_state::{Context, Deferred, Root, Timer, VmState};
use anyhow::{Context as _, Result};
use std::rc::Rc;
use wasmtime::{Instance, Store, TypedFunc, WasmParams, WasmResults};

pub(crate) struct Vm {
    pub(crate) key: VmKey,
    pub(crate) thread: usize,
    pub(crate) store: Store<VmState>,
    pub(crate) exports: Exports,
    /// Why the VM has failed. A failed VM is never called again.
    pub(crate) failure: Option<Failure>,
    pub(crate) next_context: u32,
    /// Connections whose state changed outside a callback, to be handled before the event ends.
    pub(crate) unsettled: Vec<u32>,
    /// Closed connections. Envoy deletes them at the end of the event, not during it.
    pub(crate) dying: Vec<u32>,
    pub(crate) fuel: u64,
    metering: Metering,
    /// The largest number of closes and resumes that one callback requested. Envoy nests each in
    /// the one before.
    pub(crate) most_deferred: usize,
}

/// Why a VM has failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// A root context refused to start, or refused its configuration.
    Refused,
    /// The module trapped: it panicked, ran out of memory, or called an unknown host function.
    Trapped(String),
    /// A test made it fail.
    Ordered,
}

/// The callbacks that the module may export.
pub(crate) struct Exports {
    pub(crate) on_context_create: Export<(u32, u32), ()>,
    pub(crate) on_vm_start: Export<(u32, u32), u32>,
    pub(crate) on_configure: Export<(u32, u32), u32>,
    pub(crate) on_tick: Export<u32, ()>,
    pub(crate) on_new_connection: Export<u32, u32>,
    pub(crate) on_downstream_data: Export<(u32, u32, u32), u32>,
    pub(crate) on_upstream_data: Export<(u32, u32, u32), u32>,
    pub(crate) on_downstream_close: Export<(u32, u32), ()>,
    pub(crate) on_upstream_close: Export<(u32, u32), ()>,
    pub(crate) on_done: Export<u32, u32>,
    pub(crate) on_log: Export<u32, ()>,
    pub(crate) on_delete: Export<u32, ()>,
}

/// A callback. Envoy does not enter the VM for one that the module does not export.
pub(crate) struct Export<P, R> {
    name: &'static str,
    function: Option<TypedFunc<P, R>>,
    /// What Envoy takes as the answer of a callback that is not exported.
    otherwise: R,
}

impl Exports {
    fn of(instance: Instance, store: &mut Store<VmState>) -> Result<Self> {
        const YES: u32 = 1;
        Ok(Self {
            on_context_create: export(instance, store, "on_context_create", ())?,
            on_vm_start: export(instance, store, "on_vm_start", YES)?,
            on_configure: export(instance, store, "on_configure", YES)?,
            on_tick: export(instance, store, "on_tick", ())?,
            on_new_connection: export(instance, store, "on_new_connection", CONTINUE)?,
            on_downstream_data: export(instance, store, "on_downstream_data", CONTINUE)?,
            on_upstream_data: export(instance, store, "on_upstream_data", CONTINUE)?,
            on_downstream_close: export(instance, store, "on_downstream_connection_close", ())?,
            on_upstream_close: export(instance, store, "on_upstream_connection_close", ())?,
            on_done: export(instance, store, "on_done", YES)?,
            on_log: export(instance, store, "on_log", ())?,
            on_delete: export(instance, store, "on_delete", ())?,
        })
    }
}

fn export<P: WasmParams, R: WasmResults>(
    instance: Instance,
    store: &mut Store<VmState>,
    name: &'static str,
    otherwise: R,
) -> Result<Export<P, R>> {
    let exported = instance.get_func(&mut *store, &format!("proxy_{name}"));
    let typed = exported.map(|function| function.typed(&*store)).transpose();
    let function = typed.map_err(wasm_error).with_context(|| format!("the export proxy_{name}"))?;
    Ok(Export { name, function, otherwise })
}

impl Vm {
    /// Creates an instance and starts it: with `_initialize` if the module is a reactor, otherwise
    /// with `_start`.
    pub(crate) fn start(
        module: &FilterModule,
        process: SharedProcess,
        thread: usize,
        key: VmKey,
    ) -> Result<Self> {
        let state = VmState::new(process, Rc::clone(&key.vm_id), Rc::clone(&key.vm_configuration));
        let mut store = Store::new(&module.engine, state);
        store.limiter(|state| &mut state.limits);
        if module.metering == Metering::Fuel {
            store.set_fuel(u64::MAX).map_err(wasm_error)?;
        }
        let instance = module.pre.instantiate(&mut store).map_err(wasm_error)?;
        store.data_mut().memory = instance.get_memory(&mut store, "memory");
        let malloc = instance.get_typed_func(&mut store, "malloc");
        let malloc =
            malloc.or_else(|_| instance.get_typed_func(&mut store, "proxy_on_memory_allocate"));
        store.data_mut().malloc =
            Some(malloc.map_err(wasm_error).context("the module has no malloc")?);
        for name in ["_initialize", "_start"] {
            if let Ok(start) = instance.get_typed_func::<(), ()>(&mut store, name) {
                start.call(&mut store, ()).map_err(wasm_error)?;
                break;
            }
        }
        let exports = Exports::of(instance, &mut store)?;
        Ok(Self {
            key,
            thread,
            store,
            exports,
            failure: None,
            next_context: 1,
            unsettled: Vec::new(),
            dying: Vec::new(),
            fuel: 0,
            metering: module.metering,
            most_deferred: 0,
        })
    }

    pub(crate) fn state(&self) -> &VmState {
        self.store.data()
    }

    pub(crate) fn state_mut(&mut self) -> &mut VmState {
        self.store.data_mut()
    }

    /// Returns false if the VM has no contexts; Envoy then drops it.
    pub(crate) fn has_contexts(&self) -> bool {
        !self.state().contexts.is_empty()
    }

    pub(crate) fn is_alive(&self) -> bool {
        self.failure.is_none() && self.has_contexts()
    }

    pub(crate) fn fail(&mut self, why: Failure) {
        self.failure.get_or_insert(why);
    }

    /// Calls the module for a context; returns `None` if the VM fails or has failed before. The
    /// actions that the callback requested are carried out before this returns.
    pub(crate) fn call<P: WasmParams, R: WasmResults + Copy>(
        &mut self,
        context: u32,
        export: impl Fn(&Exports) -> &Export<P, R>,
        arguments: P,
    ) -> Option<R> {
        if self.failure.is_some() {
            return None;
        }
        let export = export(&self.exports);
        let Some(function) = &export.function else { return Some(export.otherwise) };
        let name = export.name;
        let function = function.clone();
        let outer = std::mem::replace(&mut self.state_mut().current, context);
        let outer_effective = std::mem::take(&mut self.state_mut().effective);
        let before = self.fuel_left();
        self.note(context, name);
        let answer = function.call(&mut self.store, arguments);
        let fuel = before - self.fuel_left();
        self.state().process.borrow_mut().trace.leave(fuel);
        self.fuel += fuel;
        self.state_mut().current = outer;
        self.state_mut().effective = outer_effective;
        let answer = answer
            .inspect_err(|error| self.failure = Some(Failure::Trapped(format!("{error:?}"))))
            .ok();
        self.do_deferred();
        answer.filter(|_| self.failure.is_none())
    }

    /// Records a callback, so that tests can check the order.
    fn note(&mut self, context: u32, callback: &'static str) {
        self.state().process.borrow_mut().trace.enter(callback);
        if let Some(stream) = self.state_mut().stream_mut(context) {
            stream.callbacks.push(callback);
        }
    }

    fn fuel_left(&self) -> u64 {
        match self.metering {
            Metering::Fuel => self.store.get_fuel().unwrap_or_default(),
            Metering::Off => 0,
        }
    }

    /// Carries out the actions that the callback requested. Closing calls the module again. In
    /// Envoy, that nested call handles the rest of the queue before it returns, so the length of
    /// the queue is the depth of its stack.
    fn do_deferred(&mut self) {
        self.most_deferred = self.most_deferred.max(self.state().deferred.len());
        while let Some(action) = self.state_mut().deferred.pop_front() {
            match action {
                Deferred::Resume(context) => self.resume(context),
                Deferred::Close(context) => self.close(context, crate::stream::Ending::ByFilter),
            }
        }
    }

    /// The next context number. It is never one in use, but numbers are reused after 4 billion
    /// contexts.
    pub(crate) fn allocate_context(&mut self) -> u32 {
        loop {
            let number = self.next_context;
            self.next_context = number.wrapping_add(1).max(1);
            if !self.state().contexts.contains_key(&number) {
                return number;
            }
        }
    }

    pub(crate) fn find_root(&self, key: &RootKey) -> Option<u32> {
        let same =
            |root: &Root| root.root_id == key.root_id && root.configuration == key.configuration;
        let roots = self.state().contexts.iter();
        roots
            .filter_map(|(number, context)| {
                matches!(context, Context::Root(root) if same(root)).then_some(*number)
            })
            .min()
    }

    /// Creates a root context and configures it; returns `None` if it refuses. A VM that refuses
    /// has failed, which is why Envoy first tries each configuration in a VM of its own.
    pub(crate) fn configure(&mut self, key: &RootKey) -> Option<u32> {
        let context = self.allocate_context();
        let root = Root {
            root_id: Rc::clone(&key.root_id),
            plugin_name: Rc::clone(&key.plugin_name),
            configuration: Rc::clone(&key.configuration),
            listeners: 0,
            streams: 0,
            ticks: 0,
        };
        self.state_mut().contexts.insert(context, Context::Root(root));
        let accepted = self.start_root(context, key);
        if accepted.is_none() {
            self.fail(Failure::Refused);
        }
        accepted.map(|()| context)
    }

    fn start_root(&mut self, context: u32, key: &RootKey) -> Option<()> {
        let vm_size = self.key.vm_configuration.len() as u32;
        self.call(context, |exports| &exports.on_context_create, (context, 0))?;
        let started = self.call(context, |exports| &exports.on_vm_start, (context, vm_size))?;
        self.state_mut().configuration = Some(Rc::clone(&key.configuration));
        let size = key.configuration.len() as u32;
        let configured = self.call(context, |exports| &exports.on_configure, (context, size));
        self.state_mut().configuration = None;
        (started != 0 && configured? != 0).then_some(())
    }

    /// Ends a root context that no listener or connection uses any more.
    pub(crate) fn end_unused_root(&mut self, context: u32) {
        let unused =
            self.state().root(context).is_some_and(|root| root.listeners == 0 && root.streams == 0);
        if unused {
            self.call(context, |exports| &exports.on_done, context);
            self.call(context, |exports| &exports.on_delete, context);
            self.state_mut().contexts.remove(&context);
        }
    }

    /// When the next tick is due.
    pub(crate) fn next_tick(&self) -> Option<u64> {
        if self.failure.is_some() {
            return None;
        }
        self.state().timers.values().map(|timer| timer.due_nanoseconds).min()
    }

    /// Ticks the root contexts that are due. A timer outlives its context and then ticks no root.
    pub(crate) fn tick(&mut self, now: u64) {
        let due =
            |(context, timer): (&u32, &Timer)| (timer.due_nanoseconds <= now).then_some(*context);
        let due: Vec<u32> = self.state().timers.iter().filter_map(due).collect();
        for context in due {
            if let Some(root) = self.state_mut().root_mut(context) {
                root.ticks += 1;
                self.call(context, |exports| &exports.on_tick, context);
            }
            // The timer restarts from now, whatever the tick has set.
            if let Some(timer) = self.state_mut().timers.get_mut(&context) {
                timer.due_nanoseconds = now + timer.period_nanoseconds;
            }
        }
    }

    /// The module's memory in bytes. It only grows.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.state().memory.map_or(0, |memory| memory.data_size(&self.store))
    }
}
