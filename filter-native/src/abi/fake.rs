//! Envoy's side of the ABI, so that the module runs without an Envoy. It behaves as Envoy does:
//! what it lends is gone after the next call, and it reports a close from within the call that
//! closes.

use super::*;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

// The numbers of abi.h, once more.
pub(super) const STATUS_CONTINUE: u32 = 0;
pub(super) const STATUS_STOP: u32 = 1;
pub(super) const EVENT_REMOTE_CLOSE: u32 = 0;
const EVENT_LOCAL_CLOSE: u32 = 1;
pub(super) const EVENT_CONNECTED: u32 = 2;
pub(super) const EVENT_EARLY_DATA: u32 = 3;
const CLOSE_WITHOUT_FLUSH: u32 = 1;

thread_local! {
    static LOG: RefCell<Vec<String>> = RefCell::default();
}

/// The lines that this thread has logged since the last call.
pub(super) fn logged() -> Vec<String> {
    LOG.take()
}

/// Envoy's object for a configuration.
#[derive(Default)]
pub(super) struct FakeConfiguration {
    pub(super) counters: RefCell<Vec<String>>,
    /// The gauges, each with its value.
    pub(super) gauges: RefCell<Vec<(String, u64)>>,
}

/// Envoy's object for a connection.
#[derive(Default)]
pub(super) struct FakeConnection {
    pub(super) server_name: String,
    pub(super) uri_sans: Vec<String>,
    pub(super) filter_state: RefCell<BTreeMap<String, String>>,
    pub(super) cluster: RefCell<Option<String>>,
    /// Whether the filter behind this one has been started.
    pub(super) continued: Cell<bool>,
    /// The details with which it was closed.
    pub(super) closed: RefCell<Option<String>>,
    pub(super) counted: Cell<u64>,
    pub(super) woken: Arc<AtomicUsize>,
    /// Whether data arrives while the module asks for the server name.
    pub(super) reenters: Cell<bool>,
    /// The module's object.
    pub(super) module: Cell<*const c_void>,
    pub(super) lent: RefCell<Vec<Box<[u8]>>>,
    /// The functions that the module has called, in order.
    pub(super) calls: RefCell<Vec<&'static str>>,
}

impl FakeConnection {
    pub(super) fn pointer(&self) -> *mut c_void {
        std::ptr::from_ref(self).cast_mut().cast()
    }

    /// Takes back what was lent before.
    fn take_back(&self) {
        self.lent.borrow_mut().iter_mut().for_each(|bytes| bytes.fill(b'?'));
    }

    /// Lends a copy until the next call.
    fn lend(&self, text: &str) -> Buffer {
        let bytes: Box<[u8]> = text.as_bytes().into();
        let buffer = Buffer::of(&bytes);
        self.lent.borrow_mut().push(bytes);
        buffer
    }
}

/// The connection of a call, which takes back what the call before has lent.
fn connection<'a>(filter: *mut c_void, call: &'static str) -> &'a FakeConnection {
    // SAFETY: the tests pass pointers of connections that they hold.
    let connection = unsafe { &*filter.cast::<FakeConnection>() };
    connection.take_back();
    connection.calls.borrow_mut().push(call);
    connection
}

fn configuration<'a>(configuration: *mut c_void) -> &'a FakeConfiguration {
    // SAFETY: as above.
    unsafe { &*configuration.cast::<FakeConfiguration>() }
}

fn text(buffer: Buffer) -> String {
    // SAFETY: the module's buffers are live during the call.
    String::from_utf8(unsafe { buffer.copy() }).expect("text")
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_callback_log_enabled(_level: u32) -> bool {
    true
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_callback_log(_level: u32, line: Buffer) {
    LOG.with_borrow_mut(|log| log.push(text(line)));
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_callback_get_concurrency() -> u32 {
    2
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_callback_network_filter_get_requested_server_name(
    filter: *mut c_void,
    name: *mut Buffer,
) -> bool {
    let connection = connection(filter, "get_requested_server_name");
    if connection.reenters.take() {
        envoy_dynamic_module_on_network_filter_read(filter, connection.module.get(), 1, false);
    }
    // SAFETY: the module passes a variable of its own.
    unsafe { *name = connection.lend(&connection.server_name) };
    !connection.server_name.is_empty()
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_callback_network_filter_get_ssl_uri_sans_size(
    filter: *mut c_void,
) -> usize {
    connection(filter, "get_ssl_uri_sans_size").uri_sans.len()
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_callback_network_filter_get_ssl_uri_sans(
    filter: *mut c_void,
    names: *mut Buffer,
) -> bool {
    let connection = connection(filter, "get_ssl_uri_sans");
    for (index, name) in connection.uri_sans.iter().enumerate() {
        // SAFETY: the module passes an array of the size that it was told.
        unsafe { *names.add(index) = connection.lend(name) };
    }
    true
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_callback_network_get_filter_state_bytes(
    filter: *mut c_void,
    key: Buffer,
    value: *mut Buffer,
) -> bool {
    let connection = connection(filter, "get_filter_state_bytes");
    let found = connection.filter_state.borrow().get(&text(key)).cloned();
    // SAFETY: the module passes a variable of its own.
    unsafe { *value = found.as_deref().map_or(Buffer::EMPTY, |found| connection.lend(found)) };
    found.is_some()
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_callback_network_set_filter_state_bytes(
    filter: *mut c_void,
    key: Buffer,
    value: Buffer,
) -> bool {
    connection(filter, "set_filter_state_bytes")
        .filter_state
        .borrow_mut()
        .insert(text(key), text(value));
    true
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_callback_network_set_filter_state_typed(
    filter: *mut c_void,
    key: Buffer,
    value: Buffer,
) -> bool {
    assert_eq!(text(key), "envoy.tcp_proxy.cluster");
    connection(filter, "set_filter_state_typed").cluster.replace(Some(text(value)));
    true
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_callback_network_filter_continue_reading(filter: *mut c_void) {
    connection(filter, "continue_reading").continued.set(true);
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_callback_network_filter_close_with_details(
    filter: *mut c_void,
    kind: u32,
    details: Buffer,
) {
    assert_eq!(kind, CLOSE_WITHOUT_FLUSH);
    let connection = connection(filter, "close_with_details");
    // Envoy closes and reports once.
    if connection.closed.borrow().is_none() {
        connection.closed.replace(Some(text(details)));
        envoy_dynamic_module_on_network_filter_event(
            filter,
            connection.module.get(),
            EVENT_LOCAL_CLOSE,
        );
    }
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_callback_network_filter_increment_counter(
    filter: *mut c_void,
    _counter: usize,
    by: u64,
) -> u32 {
    let counted = &connection(filter, "increment_counter").counted;
    counted.set(counted.get() + by);
    0
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_callback_network_filter_config_define_counter(
    envoy: *mut c_void,
    name: Buffer,
    counter: *mut usize,
) -> u32 {
    let mut counters = configuration(envoy).counters.borrow_mut();
    // SAFETY: the module passes a variable of its own.
    unsafe { *counter = counters.len() };
    counters.push(text(name));
    0
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_callback_network_filter_config_define_gauge(
    envoy: *mut c_void,
    name: Buffer,
    gauge: *mut usize,
) -> u32 {
    let mut gauges = configuration(envoy).gauges.borrow_mut();
    // SAFETY: the module passes a variable of its own.
    unsafe { *gauge = gauges.len() };
    gauges.push((text(name), 0));
    0
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_callback_network_filter_config_set_gauge(
    envoy: *mut c_void,
    gauge: usize,
    value: u64,
) -> u32 {
    let mut gauges = configuration(envoy).gauges.borrow_mut();
    gauges.get_mut(gauge).expect("a gauge that was defined").1 = value;
    0
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_callback_network_filter_scheduler_new(
    filter: *mut c_void,
) -> *mut c_void {
    Arc::into_raw(Arc::clone(&connection(filter, "scheduler_new").woken)).cast_mut().cast()
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_callback_network_filter_scheduler_commit(
    scheduler: *mut c_void,
    _event: u64,
) {
    // SAFETY: `scheduler_new` returned this pointer, and it has not been deleted.
    unsafe { &*scheduler.cast::<AtomicUsize>() }.fetch_add(1, Ordering::SeqCst);
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_callback_network_filter_scheduler_delete(
    scheduler: *mut c_void,
) {
    // SAFETY: `scheduler_new` returned this pointer, and the module deletes it once.
    drop(unsafe { Arc::from_raw(scheduler.cast::<AtomicUsize>()) });
}
