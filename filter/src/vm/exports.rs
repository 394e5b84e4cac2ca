//! The exports of the module: proxy-wasm's callbacks, forwarded to plain code.
//!
//! The proxy enters the VM for every callback that a module exports, and skips the others. So the
//! module exports only callbacks in which there is something to do. The SDK (`proxy-wasm`) would
//! export all of them, and trap on a context that it does not know.
//!
//! A context ends with `proxy_on_delete`. The proxy reports the close of either side and
//! `proxy_on_done` in the same event, just before.
#![allow(
    unsafe_code,
    reason = "a function that the proxy calls by its name is declared as unsafe; and the proxy writes to memory that it asks for"
)]

use super::host::{ContextId, Host};
use super::imports::Proxy;
use super::{Root, Stream, Vm};
use crate::host::{Action, Level};
use std::alloc::Layout;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ptr::null_mut;
use std::rc::Rc;

thread_local! {
    static VM: Rc<Vm<Proxy>> = Vm::new(Proxy);
    /// All contexts. It is borrowed while a callback runs; no host call calls back.
    static CONTEXTS: RefCell<BTreeMap<ContextId, Context>> = RefCell::default();
}

enum Context {
    Root(Root<Proxy>),
    Stream(Stream<Proxy>),
}

/// Calls a root context, unless the proxy names one that does not exist.
fn on_root<T>(id: ContextId, call: impl FnOnce(&mut Root<Proxy>) -> T) -> Option<T> {
    CONTEXTS.with_borrow_mut(|contexts| match contexts.get_mut(&id) {
        Some(Context::Root(root)) => Some(call(root)),
        _ => None,
    })
}

/// Calls a connection's context. Nothing passes on a connection that does not exist.
fn on_stream(id: ContextId, call: impl FnOnce(&mut Stream<Proxy>) -> Action) -> Action {
    CONTEXTS.with_borrow_mut(|contexts| match contexts.get_mut(&id) {
        Some(Context::Stream(stream)) => call(stream),
        _ => Action::Pause,
    })
}

/// The version of the ABI.
#[unsafe(no_mangle)]
extern "C" fn proxy_abi_version_0_2_1() {}

/// If a panic ever happens, the proxy's log shows where.
#[unsafe(no_mangle)]
extern "C" fn _initialize() {
    std::panic::set_hook(Box::new(|panic| Proxy.log(Level::Error, &panic.to_string())));
}

/// Memory for a value that a host call returns; `received` in `imports` takes it over.
#[unsafe(no_mangle)]
extern "C" fn malloc(size: usize) -> *mut u8 {
    match Layout::array::<u8>(size) {
        // SAFETY: the size is not zero.
        Ok(layout) if size > 0 => unsafe { std::alloc::alloc(layout) },
        _ => null_mut(),
    }
}

/// A plugin (`parent` is 0) or a connection of the plugin `parent` begins.
#[unsafe(no_mangle)]
extern "C" fn proxy_on_context_create(id: ContextId, parent: ContextId) {
    let context = match parent {
        0 => Some(Context::Root(VM.with(|vm| vm.root(id)))),
        _ => on_root(parent, |root| Context::Stream(root.stream(id))),
    };
    if let Some(context) = context {
        CONTEXTS.with_borrow_mut(|contexts| contexts.insert(id, context));
    }
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_configure(root: ContextId, _size: usize) -> bool {
    on_root(root, Root::on_configure).unwrap_or(false)
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_tick(root: ContextId) {
    on_root(root, Root::on_tick);
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_new_connection(stream: ContextId) -> Action {
    on_stream(stream, Stream::on_new_connection)
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_downstream_data(stream: ContextId, _size: usize, _end: bool) -> Action {
    on_stream(stream, Stream::on_downstream_data)
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_upstream_data(stream: ContextId, _size: usize, _end: bool) -> Action {
    on_stream(stream, Stream::on_upstream_data)
}

/// A context ends. Dropping a stream forgets its connection.
#[unsafe(no_mangle)]
extern "C" fn proxy_on_delete(id: ContextId) {
    let ended = CONTEXTS.with_borrow_mut(|contexts| contexts.remove(&id));
    if let Some(Context::Root(mut root)) = ended {
        root.on_done();
    }
}
