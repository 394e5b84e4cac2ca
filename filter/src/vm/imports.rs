//! The host calls of proxy-wasm 0.2.1 that the filter uses.
//!
//! A status is a number, and the caller decides what to do about it. A proxy that withholds a
//! capability (Envoy: `capability_restriction_config`) returns one that no caller expects.
#![allow(
    unsafe_code,
    reason = "host calls take and give pointers; this module is the only one that sees them"
)]

use super::host::{ContextId, Host, MetricKind, Property, SharedValue};
use crate::host::{Level, Status};
use std::ptr::{null, null_mut};
use std::time::Duration;

#[link(wasm_import_module = "env")]
unsafe extern "C" {
    fn proxy_log(level: u32, line: *const u8, size: usize) -> u32;
    fn proxy_get_log_level(level: *mut u32) -> u32;
    fn proxy_get_current_time_nanoseconds(time: *mut u64) -> u32;
    fn proxy_set_tick_period_milliseconds(period: u32) -> u32;
    fn proxy_get_buffer_bytes(
        kind: u32,
        start: usize,
        max: usize,
        data: *mut *mut u8,
        size: *mut usize,
    ) -> u32;
    fn proxy_get_property(
        path: *const u8,
        path_size: usize,
        data: *mut *mut u8,
        size: *mut usize,
    ) -> u32;
    fn proxy_set_property(path: *const u8, path_size: usize, value: *const u8, size: usize) -> u32;
    fn proxy_get_shared_data(
        key: *const u8,
        key_size: usize,
        data: *mut *mut u8,
        size: *mut usize,
        cas: *mut u32,
    ) -> u32;
    fn proxy_set_shared_data(
        key: *const u8,
        key_size: usize,
        value: *const u8,
        size: usize,
        cas: u32,
    ) -> u32;
    fn proxy_continue_stream(stream: u32) -> u32;
    fn proxy_close_stream(stream: u32) -> u32;
    fn proxy_set_effective_context(context: u32) -> u32;
    fn proxy_call_foreign_function(
        name: *const u8,
        name_size: usize,
        argument: *const u8,
        argument_size: usize,
        data: *mut *mut u8,
        size: *mut usize,
    ) -> u32;
    fn proxy_define_metric(kind: u32, name: *const u8, name_size: usize, metric: *mut u32) -> u32;
    fn proxy_record_metric(metric: u32, value: u64) -> u32;
    fn proxy_increment_metric(metric: u32, by: i64) -> u32;
}

/// The `BufferType` of a plugin's configuration.
const PLUGIN_CONFIGURATION: u32 = 7;
/// The `StreamType` of a network filter's downstream.
const DOWNSTREAM: u32 = 2;

/// The proxy that runs this VM.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Proxy;

/// Turns a status number into a `Result`.
fn checked(status: u32) -> Result<(), Status> {
    match status {
        0 => Ok(()),
        other => Err(Status(other)),
    }
}

/// Receives the bytes of a host call. The host asks us for memory and writes to it.
fn received(call: impl FnOnce(*mut *mut u8, *mut usize) -> u32) -> Result<Vec<u8>, Status> {
    let (mut data, mut size) = (null_mut(), 0);
    checked(call(&mut data, &mut size))?;
    if data.is_null() {
        return Ok(Vec::new());
    }
    // SAFETY: the host allocated this memory with our `malloc`, for `size` bytes, and passes its
    // ownership to us.
    Ok(unsafe { Vec::from_raw_parts(data, size, size) })
}

impl Host for Proxy {
    fn configuration(&self) -> Vec<u8> {
        // SAFETY: the pointers refer to live variables.
        received(|data, size| unsafe {
            proxy_get_buffer_bytes(PLUGIN_CONFIGURATION, 0, usize::MAX, data, size)
        })
        .unwrap_or_default()
    }

    fn property(&self, property: Property) -> Option<Vec<u8>> {
        let path = property.path();
        // SAFETY: pointer and length belong to one slice; the other pointers refer to live
        // variables.
        received(|data, size| unsafe { proxy_get_property(path.as_ptr(), path.len(), data, size) })
            .ok()
    }

    fn set_property(&self, name: &str, value: &[u8]) -> Result<(), Status> {
        // SAFETY: each pointer and its length belong to one slice.
        checked(unsafe {
            proxy_set_property(name.as_ptr(), name.len(), value.as_ptr(), value.len())
        })
    }

    fn call_foreign_function(&self, name: &str, argument: &[u8]) -> Result<(), Status> {
        // SAFETY: each pointer and its length belong to one slice; the other pointers refer to live
        // variables.
        let call = |data, size| unsafe {
            proxy_call_foreign_function(
                name.as_ptr(),
                name.len(),
                argument.as_ptr(),
                argument.len(),
                data,
                size,
            )
        };
        received(call).map(drop)
    }

    fn shared_data(&self, key: &str) -> Option<SharedValue> {
        let mut cas = 0;
        // SAFETY: pointer and length belong to one slice; the other pointers refer to live
        // variables.
        let bytes = received(|data, size| unsafe {
            proxy_get_shared_data(key.as_ptr(), key.len(), data, size, &mut cas)
        });
        Some(SharedValue { bytes: bytes.ok()?, cas })
    }

    fn set_shared_data(&self, key: &str, value: &[u8], cas: u32) -> Result<(), Status> {
        // SAFETY: each pointer and its length belong to one slice.
        checked(unsafe {
            proxy_set_shared_data(key.as_ptr(), key.len(), value.as_ptr(), value.len(), cas)
        })
    }

    fn now(&self) -> Duration {
        let mut nanoseconds = 0;
        // SAFETY: the pointer refers to a live variable. A proxy that does not provide the time
        // leaves it at 0.
        unsafe { proxy_get_current_time_nanoseconds(&mut nanoseconds) };
        Duration::from_nanos(nanoseconds)
    }

    fn set_tick_period(&self, period: Duration) {
        let milliseconds = u32::try_from(period.as_millis()).unwrap_or(u32::MAX);
        // SAFETY: no pointers.
        unsafe { proxy_set_tick_period_milliseconds(milliseconds) };
    }

    fn act_for(&self, context: ContextId) -> bool {
        // SAFETY: no pointers.
        unsafe { proxy_set_effective_context(context) == 0 }
    }

    fn resume_downstream(&self) -> Result<(), Status> {
        // SAFETY: no pointers.
        checked(unsafe { proxy_continue_stream(DOWNSTREAM) })
    }

    fn close_downstream(&self) -> Result<(), Status> {
        // SAFETY: no pointers.
        checked(unsafe { proxy_close_stream(DOWNSTREAM) })
    }

    fn define_metric(&self, kind: MetricKind, name: &str) -> Option<u32> {
        let mut metric = 0;
        // SAFETY: pointer and length belong to one slice; the other pointer refers to a live
        // variable.
        checked(unsafe {
            proxy_define_metric(kind as u32, name.as_ptr(), name.len(), &mut metric)
        })
        .ok()?;
        Some(metric)
    }

    fn increment_metric(&self, metric: u32, by: u64) {
        // SAFETY: no pointers.
        unsafe { proxy_increment_metric(metric, i64::try_from(by).unwrap_or(i64::MAX)) };
    }

    fn record_metric(&self, metric: u32, value: u64) {
        // SAFETY: no pointers.
        unsafe { proxy_record_metric(metric, value) };
    }

    fn logs(&self, level: Level) -> bool {
        let mut lowest = 0;
        // SAFETY: the pointer refers to a live variable.
        checked(unsafe { proxy_get_log_level(&mut lowest) }).is_ok() && level as u32 >= lowest
    }

    fn log(&self, level: Level, line: &str) {
        let (line, size) = if line.is_empty() { (null(), 0) } else { (line.as_ptr(), line.len()) };
        // SAFETY: pointer and length belong to one slice.
        unsafe { proxy_log(level as u32, line, size) };
    }
}
