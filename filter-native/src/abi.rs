//! The part of Envoy's dynamic module ABI that the filter uses, declared by hand.
//!
//! The source is `source/extensions/dynamic_modules/abi/abi.h` of Envoy. An ABI version is
//! compatible with the next minor version. Everything here is in v0.1.0 as of Envoy 1.39, and
//! unchanged in v0.2.0 (Envoy 1.40). Envoy 1.38 also states v0.1.0, but lacks
//! `network_filter_config_set_gauge`; the dynamic linker refuses the module there and names the
//! function.
//!
//! # What makes the calls sound
//!
//! - Envoy calls the module's functions for a connection on that connection's thread only, and
//!   none after `network_filter_destroy`. The module gives up a [`Handle`] when Envoy reports the
//!   close, which comes before that (`worker`), so no call is made for a connection that is gone.
//! - A scheduler that another thread uses keeps its connection alive during the call (Envoy 1.40).
//!   If that thread were the last one to hold it, `network_filter_destroy` would come on the wrong
//!   thread. So a scheduler is used and given up under one lock (`newest`), and is given up at the
//!   close. A connection that is destroyed on another thread all the same is leaked, not touched.
//! - Envoy calls functions for a connection from within another call for it: closing reports the
//!   close. So the module takes its own objects by shared reference, never by `&mut`.
//! - Envoy copies the buffers that the module passes, and the module copies Envoy's before it
//!   makes another call.
//! - No panic unwinds into Envoy: [`guarded`] stops it, and the connection is refused.
#![allow(unsafe_code, reason = "the ABI is C; this module is the only one that sees its pointers")]

#[cfg(test)]
mod fake;
#[cfg(any(test, feature = "provoked-panics"))]
mod provoked;
#[cfg(test)]
mod tests;

use crate::module::{self, Configured, Connection};
use fedgate_filter::host::{Action, Level};
use std::ffi::{CStr, c_char, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::{NonNull, null, null_mut};
use std::sync::Arc;

/// A buffer of Envoy's or of the module's; both have the same layout.
#[repr(C)]
#[derive(Clone, Copy)]
struct Buffer {
    start: *const u8,
    length: usize,
}

impl Buffer {
    const EMPTY: Self = Self { start: null(), length: 0 };

    fn of(bytes: &[u8]) -> Self {
        Self { start: bytes.as_ptr(), length: bytes.len() }
    }

    /// # Safety
    /// The buffer comes from Envoy's last call, and there has been no other since.
    unsafe fn copy(self) -> Vec<u8> {
        if self.start.is_null() {
            return Vec::new();
        }
        // SAFETY: Envoy's buffers are valid at least until the next call.
        unsafe { std::slice::from_raw_parts(self.start, self.length) }.to_vec()
    }
}

const CONTINUE: u32 = 0;
const STOP_ITERATION: u32 = 1;
/// Closes without waiting for a client that does not read.
const NO_FLUSH: u32 = 1;
const REMOTE_CLOSE: u32 = 0;
const LOCAL_CLOSE: u32 = 1;
/// The handshake is finished and verified. Early data (event 3) proves nothing yet.
const CONNECTED: u32 = 2;

unsafe extern "C" {
    fn envoy_dynamic_module_callback_log_enabled(level: u32) -> bool;
    fn envoy_dynamic_module_callback_log(level: u32, line: Buffer);
    fn envoy_dynamic_module_callback_get_concurrency() -> u32;
    fn envoy_dynamic_module_callback_network_filter_get_requested_server_name(
        filter: *mut c_void,
        name: *mut Buffer,
    ) -> bool;
    fn envoy_dynamic_module_callback_network_filter_get_ssl_uri_sans_size(
        filter: *mut c_void,
    ) -> usize;
    fn envoy_dynamic_module_callback_network_filter_get_ssl_uri_sans(
        filter: *mut c_void,
        names: *mut Buffer,
    ) -> bool;
    fn envoy_dynamic_module_callback_network_get_filter_state_bytes(
        filter: *mut c_void,
        key: Buffer,
        value: *mut Buffer,
    ) -> bool;
    fn envoy_dynamic_module_callback_network_set_filter_state_bytes(
        filter: *mut c_void,
        key: Buffer,
        value: Buffer,
    ) -> bool;
    fn envoy_dynamic_module_callback_network_set_filter_state_typed(
        filter: *mut c_void,
        key: Buffer,
        value: Buffer,
    ) -> bool;
    fn envoy_dynamic_module_callback_network_filter_continue_reading(filter: *mut c_void);
    fn envoy_dynamic_module_callback_network_filter_close_with_details(
        filter: *mut c_void,
        kind: u32,
        details: Buffer,
    );
    fn envoy_dynamic_module_callback_network_filter_increment_counter(
        filter: *mut c_void,
        counter: usize,
        by: u64,
    ) -> u32;
    fn envoy_dynamic_module_callback_network_filter_config_define_counter(
        configuration: *mut c_void,
        name: Buffer,
        counter: *mut usize,
    ) -> u32;
    fn envoy_dynamic_module_callback_network_filter_config_define_gauge(
        configuration: *mut c_void,
        name: Buffer,
        gauge: *mut usize,
    ) -> u32;
    fn envoy_dynamic_module_callback_network_filter_config_set_gauge(
        configuration: *mut c_void,
        gauge: usize,
        value: u64,
    ) -> u32;
    fn envoy_dynamic_module_callback_network_filter_scheduler_new(
        filter: *mut c_void,
    ) -> *mut c_void;
    fn envoy_dynamic_module_callback_network_filter_scheduler_commit(
        scheduler: *mut c_void,
        event: u64,
    );
    fn envoy_dynamic_module_callback_network_filter_scheduler_delete(scheduler: *mut c_void);
    /// Of the C library.
    fn dlsym(handle: *mut c_void, name: *const c_char) -> *mut c_void;
}

/// A function that Envoy has since ABI v0.2.0.
const SINCE_0_2: &CStr = c"envoy_dynamic_module_callback_log_v2";

/// Envoy's object for one connection.
#[derive(Clone, Copy)]
pub(crate) struct Handle(NonNull<c_void>);

impl Handle {
    pub(crate) fn server_name(self) -> Option<Vec<u8>> {
        let mut name = Buffer::EMPTY;
        // SAFETY: the handle is valid (see above); the other pointer refers to a live variable.
        let found = unsafe {
            envoy_dynamic_module_callback_network_filter_get_requested_server_name(
                self.0.as_ptr(),
                &mut name,
            )
        };
        // SAFETY: from the call before.
        found.then(|| unsafe { name.copy() })
    }

    /// The URI SANs of the client's certificate, joined by commas; `None` if there are none. The
    /// certificate may not be verified yet.
    pub(crate) fn joined_uri_sans(self) -> Option<Vec<u8>> {
        // SAFETY: the handle is valid.
        let count = unsafe {
            envoy_dynamic_module_callback_network_filter_get_ssl_uri_sans_size(self.0.as_ptr())
        };
        let mut names = vec![Buffer::EMPTY; count];
        // SAFETY: the handle is valid, and the array has room for as many names as Envoy said.
        let found = count > 0
            && unsafe {
                envoy_dynamic_module_callback_network_filter_get_ssl_uri_sans(
                    self.0.as_ptr(),
                    names.as_mut_ptr(),
                )
            };
        // SAFETY: from the call before.
        let names = names.into_iter().map(|name| unsafe { name.copy() });
        found.then(|| names.collect::<Vec<_>>().join(&b','))
    }

    pub(crate) fn filter_state(self, key: &str) -> Option<Vec<u8>> {
        let mut value = Buffer::EMPTY;
        // SAFETY: the handle is valid; the key is live, and the other pointer refers to a live
        // variable.
        let found = unsafe {
            envoy_dynamic_module_callback_network_get_filter_state_bytes(
                self.0.as_ptr(),
                Buffer::of(key.as_bytes()),
                &mut value,
            )
        };
        // SAFETY: from the call before.
        found.then(|| unsafe { value.copy() })
    }

    /// Sets filter state as text.
    pub(crate) fn set_filter_state(self, key: &str, value: &[u8]) -> bool {
        let (key, value) = (Buffer::of(key.as_bytes()), Buffer::of(value));
        // SAFETY: the handle is valid, and Envoy copies both buffers.
        unsafe {
            envoy_dynamic_module_callback_network_set_filter_state_bytes(
                self.0.as_ptr(),
                key,
                value,
            )
        }
    }

    /// Sets filter state of the type that Envoy has registered for the key.
    pub(crate) fn set_typed_filter_state(self, key: &str, value: &[u8]) -> bool {
        let (key, value) = (Buffer::of(key.as_bytes()), Buffer::of(value));
        // SAFETY: the handle is valid, and Envoy copies both buffers.
        unsafe {
            envoy_dynamic_module_callback_network_set_filter_state_typed(
                self.0.as_ptr(),
                key,
                value,
            )
        }
    }

    /// Continues with the filter behind this one. Envoy may call the module from within.
    pub(crate) fn continue_reading(self) {
        // SAFETY: the handle is valid.
        unsafe { envoy_dynamic_module_callback_network_filter_continue_reading(self.0.as_ptr()) }
    }

    /// Closes the connection at once. Envoy calls the module from within.
    pub(crate) fn close(self, details: &str) {
        let details = Buffer::of(details.as_bytes());
        // SAFETY: the handle is valid, and Envoy copies the details.
        unsafe {
            envoy_dynamic_module_callback_network_filter_close_with_details(
                self.0.as_ptr(),
                NO_FLUSH,
                details,
            );
        }
    }

    /// Adds to a counter of the connection's configuration.
    pub(crate) fn increment(self, counter: usize, by: u64) {
        // SAFETY: the handle is valid. Envoy checks the number.
        unsafe {
            envoy_dynamic_module_callback_network_filter_increment_counter(
                self.0.as_ptr(),
                counter,
                by,
            );
        }
    }

    /// A scheduler that calls the connection's thread from any other.
    pub(crate) fn scheduler(self) -> Option<Scheduler> {
        // SAFETY: the handle is valid.
        let scheduler =
            unsafe { envoy_dynamic_module_callback_network_filter_scheduler_new(self.0.as_ptr()) };
        NonNull::new(scheduler).map(Scheduler)
    }
}

/// Calls a connection's thread; does nothing once the connection is gone.
pub(crate) struct Scheduler(NonNull<c_void>);

// SAFETY: Envoy's scheduler may be used from any thread. It holds its connection weakly.
unsafe impl Send for Scheduler {}

impl Scheduler {
    pub(crate) fn wake(&self) {
        // SAFETY: the scheduler lives until it is dropped.
        unsafe {
            envoy_dynamic_module_callback_network_filter_scheduler_commit(self.0.as_ptr(), 0);
        }
    }
}

impl Drop for Scheduler {
    fn drop(&mut self) {
        // SAFETY: it was created by `scheduler_new`, and this is its only deletion.
        unsafe { envoy_dynamic_module_callback_network_filter_scheduler_delete(self.0.as_ptr()) }
    }
}

/// Envoy's object for a configuration that is being loaded, on the main thread.
pub(crate) struct Loading(NonNull<c_void>);

impl Loading {
    pub(crate) fn define_counter(&self, name: &str) -> Option<usize> {
        let mut counter = 0;
        // SAFETY: Envoy's object outlives the call in which it was given; the name is copied, and
        // the other pointer refers to a live variable.
        let result = unsafe {
            envoy_dynamic_module_callback_network_filter_config_define_counter(
                self.0.as_ptr(),
                Buffer::of(name.as_bytes()),
                &mut counter,
            )
        };
        (result == 0).then_some(counter)
    }

    pub(crate) fn show_gauge(&self, name: &str, value: u64) {
        let mut gauge = 0;
        // SAFETY: as for the counter.
        unsafe {
            let result = envoy_dynamic_module_callback_network_filter_config_define_gauge(
                self.0.as_ptr(),
                Buffer::of(name.as_bytes()),
                &mut gauge,
            );
            if result == 0 {
                envoy_dynamic_module_callback_network_filter_config_set_gauge(
                    self.0.as_ptr(),
                    gauge,
                    value,
                );
            }
        }
    }
}

/// The number of workers.
pub(crate) fn concurrency() -> u32 {
    // SAFETY: no pointers; called on the main thread, as Envoy asks.
    unsafe { envoy_dynamic_module_callback_get_concurrency() }
}

pub(crate) fn logs(level: Level) -> bool {
    // SAFETY: no pointers.
    unsafe { envoy_dynamic_module_callback_log_enabled(level as u32) }
}

/// Writes a line to Envoy's log. Envoy numbers the levels as proxy-wasm does.
pub(crate) fn log(level: Level, line: &str) {
    // SAFETY: the line is live during the call.
    unsafe { envoy_dynamic_module_callback_log(level as u32, Buffer::of(line.as_bytes())) }
}

/// Calls the module from a function of the ABI; a panic ends here.
fn guarded<T>(entry: &str, call: impl FnOnce() -> T) -> Option<T> {
    let call = || {
        #[cfg(any(test, feature = "provoked-panics"))]
        provoked::panic_if_asked(entry);
        call()
    };
    let result = catch_unwind(AssertUnwindSafe(call)).ok();
    if result.is_none() {
        let line =
            format!("the filter panicked in {entry}; the connection or configuration is refused");
        log(Level::Error, &line);
    }
    result
}

/// Calls the module for a connection. After a panic the connection is closed, and no data passes.
///
/// # Safety
/// Both pointers are those of a connection that Envoy has not destroyed.
unsafe fn for_connection(
    entry: &str,
    filter: *mut c_void,
    connection: *const c_void,
    call: impl FnOnce(&Connection) -> Action,
) -> u32 {
    // SAFETY: `network_filter_new` returned this pointer; `network_filter_destroy` has not been
    // called, and nothing else takes the object by `&mut`.
    let Some(connection) = (unsafe { connection.cast::<Connection>().as_ref() }) else {
        return STOP_ITERATION;
    };
    match guarded(entry, || call(connection)) {
        Some(Action::Continue) => CONTINUE,
        Some(Action::Pause) => STOP_ITERATION,
        None => {
            if let Some(filter) = NonNull::new(filter) {
                Handle(filter).close("fedgate_failed");
            }
            STOP_ITERATION
        }
    }
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_on_program_init() -> *const c_char {
    // SAFETY: a null handle means the whole program; the name ends with NUL.
    let newer = !unsafe { dlsym(null_mut(), SINCE_0_2.as_ptr()) }.is_null();
    // Envoy compares this with its own version, and logs whether they match.
    if newer { c"v0.2.0".as_ptr() } else { c"v0.1.0".as_ptr() }
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_on_network_filter_config_new(
    envoy: *mut c_void,
    name: Buffer,
    json: Buffer,
) -> *const c_void {
    // SAFETY: both buffers are Envoy's, and valid during this call.
    let (name, json) = unsafe { (name.copy(), json.copy()) };
    let configured = guarded("config_new", || {
        module::configure(&Loading(NonNull::new(envoy)?), &String::from_utf8_lossy(&name), &json)
    });
    configured.flatten().map_or(null(), |configured| Arc::into_raw(configured).cast())
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_on_network_filter_config_destroy(configured: *const c_void) {
    // SAFETY: `config_new` returned this pointer, and Envoy destroys it once.
    let configured = unsafe { Arc::from_raw(configured.cast::<Configured>()) };
    guarded("config_destroy", || drop(configured));
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_on_network_filter_new(
    configured: *const c_void,
    filter: *mut c_void,
) -> *const c_void {
    let configured = configured.cast::<Configured>();
    // SAFETY: `config_new` returned this pointer, and Envoy destroys it after its connections.
    let configured = unsafe {
        Arc::increment_strong_count(configured);
        Arc::from_raw(configured)
    };
    let connection =
        guarded("new", || Some(Connection::new(Handle(NonNull::new(filter)?), configured)));
    // Envoy closes the connection if it gets no object.
    connection.flatten().map_or(null(), |connection| Box::into_raw(Box::new(connection)).cast())
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_on_network_filter_new_connection(
    filter: *mut c_void,
    connection: *const c_void,
) -> u32 {
    // SAFETY: as Envoy promises.
    unsafe { for_connection("new_connection", filter, connection, Connection::on_new_connection) }
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_on_network_filter_read(
    filter: *mut c_void,
    connection: *const c_void,
    _size: usize,
    _end: bool,
) -> u32 {
    // SAFETY: as Envoy promises.
    unsafe { for_connection("read", filter, connection, Connection::on_downstream_data) }
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_on_network_filter_write(
    filter: *mut c_void,
    connection: *const c_void,
    _size: usize,
    _end: bool,
) -> u32 {
    // SAFETY: as Envoy promises.
    unsafe { for_connection("write", filter, connection, Connection::on_upstream_data) }
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_on_network_filter_event(
    filter: *mut c_void,
    connection: *const c_void,
    event: u32,
) {
    let call = |connection: &Connection| {
        if event == CONNECTED {
            connection.on_handshake();
        }
        Action::Continue
    };
    // SAFETY: as Envoy promises.
    unsafe { for_connection("event", filter, connection, call) };
    if matches!(event, REMOTE_CLOSE | LOCAL_CLOSE) {
        // SAFETY: as in `for_connection`.
        let connection = unsafe { connection.cast::<Connection>().as_ref() };
        // Also if the call before has panicked.
        guarded("close", || connection.map(Connection::leave));
    }
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_on_network_filter_scheduled(
    filter: *mut c_void,
    connection: *const c_void,
    _event: u64,
) {
    let call = |connection: &Connection| {
        connection.on_wake();
        Action::Continue
    };
    // SAFETY: as Envoy promises.
    unsafe { for_connection("scheduled", filter, connection, call) };
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_on_network_filter_destroy(connection: *const c_void) {
    // SAFETY: `network_filter_new` returned this pointer from a box, and Envoy destroys it once.
    // What is read here does not change after its creation.
    if unsafe { connection.cast::<Connection>().as_ref() }.is_some_and(Connection::is_elsewhere) {
        log(Level::Error, "a connection was destroyed on another thread; its memory is not freed");
        return;
    }
    // SAFETY: as above, and this is the connection's own thread.
    let connection = unsafe { Box::from_raw(connection.cast::<Connection>().cast_mut()) };
    guarded("destroy", || drop(connection));
}
