//! The host functions: everything that a module can ask of the proxy.
//!
//! Each acts for the *acting context*: the one for which the running callback was called, or the
//! one last chosen with `proxy_set_effective_context`. Each returns a [`Status`]. The functions for
//! HTTP, gRPC, calls to clusters and queues are omitted. A module that imports one loads, and traps
//! when it calls it.

use crate::abi::{LogLevel, Status, buffer_type, stream_type};
use crate::foreign;
use crate::memory::{Failure, Vm, hand_over, read, read_text, write};
use crate::process::LogLine;
use crate::properties::property;
use crate::vm_state::{Deferred, VmState};
use wasmtime::Linker;

type Answer = Result<(), Failure>;

/// Registers a host function under its name, with its arguments.
macro_rules! register {
    ($linker:ident, $function:ident($($argument:ident: $kind:ty),*)) => {
        $linker.func_wrap("env", concat!("proxy_", stringify!($function)), |mut vm: Vm<'_>, $($argument: $kind),*| {
            match begin(&vm, stringify!($function), concat!("proxy_", stringify!($function))) {
                Some(status) => Ok(status as u32),
                None => answer($function(&mut vm, $($argument),*)),
            }
        })?
    };
}

/// Notes a call; returns the status of a function that a test refuses.
fn begin(vm: &Vm<'_>, function: &str, import: &str) -> Option<Status> {
    let mut process = vm.data().process.borrow_mut();
    process.trace.call(function);
    process.refused_calls.get(import).copied()
}

fn note(vm: &Vm<'_>, subject: &[u8]) {
    vm.data().process.borrow_mut().trace.about(&String::from_utf8_lossy(subject));
}

fn answer(result: Answer) -> wasmtime::Result<u32> {
    match result {
        Ok(()) => Ok(Status::Ok as u32),
        Err(Failure::Answer(status)) => Ok(status as u32),
        Err(Failure::Trap(error)) => Err(error),
    }
}

pub(crate) fn register(linker: &mut Linker<VmState>) -> wasmtime::Result<()> {
    register!(linker, log(level: u32, text: u32, size: u32));
    register!(linker, get_log_level(to: u32));
    register!(linker, get_current_time_nanoseconds(to: u32));
    register!(linker, set_tick_period_milliseconds(period: u32));
    register!(linker, get_buffer_bytes(kind: u32, start: u32, length: u32, to_place: u32, to_size: u32));
    register!(linker, get_property(path: u32, path_size: u32, to_place: u32, to_size: u32));
    register!(linker, set_property(path: u32, path_size: u32, value: u32, size: u32));
    register!(linker, get_shared_data(key: u32, key_size: u32, to_place: u32, to_size: u32, to_cas: u32));
    register!(linker, set_shared_data(key: u32, key_size: u32, value: u32, size: u32, cas: u32));
    register!(linker, continue_stream(stream: u32));
    register!(linker, close_stream(stream: u32));
    register!(linker, set_effective_context(context: u32));
    register!(linker, call_foreign_function(name: u32, name_size: u32, argument: u32, size: u32, to_place: u32, to_size: u32));
    register!(linker, define_metric(kind: u32, name: u32, size: u32, to: u32));
    register!(linker, increment_metric(metric: u32, offset: i64));
    register!(linker, record_metric(metric: u32, value: u64));
    register!(linker, get_metric(metric: u32, to: u32));
    Ok(())
}

fn log(vm: &mut Vm<'_>, level: u32, text: u32, size: u32) -> Answer {
    let level = LogLevel::from_number(level).ok_or(Status::BadArgument)?;
    let text = read_text(vm, text, size)?;
    let state = vm.data();
    let root_id = state
        .root(state.root_of(state.acting()))
        .map(|root| root.root_id.to_string())
        .unwrap_or_default();
    let mut process = state.process.borrow_mut();
    if level >= process.log_level {
        process.log.push(LogLine { level, root_id, text });
    }
    Ok(())
}

fn get_log_level(vm: &mut Vm<'_>, to: u32) -> Answer {
    let level = vm.data().process.borrow().log_level as u32;
    write(vm, to, &level.to_le_bytes())
}

fn get_current_time_nanoseconds(vm: &mut Vm<'_>, to: u32) -> Answer {
    let now = vm.data().process.borrow().now_nanoseconds;
    write(vm, to, &now.to_le_bytes())
}

/// This sets the period of the *acting* context's root.
fn set_tick_period_milliseconds(vm: &mut Vm<'_>, period: u32) -> Answer {
    let state = vm.data_mut();
    state.set_tick_period(state.acting(), period);
    Ok(())
}

fn get_buffer_bytes(
    vm: &mut Vm<'_>,
    kind: u32,
    start: u32,
    length: u32,
    to_place: u32,
    to_size: u32,
) -> Answer {
    let buffer = buffer(vm.data(), kind)?;
    // A request for more than there is returns what there is.
    let start = start as usize;
    let end = start.saturating_add(length as usize).min(buffer.len());
    hand_over(vm, buffer.get(start..end).unwrap_or_default(), to_place, to_size)
}

fn buffer(state: &VmState, kind: u32) -> Result<Vec<u8>, Status> {
    let stream = || state.stream(state.acting()).ok_or(Status::NotFound);
    match kind {
        buffer_type::DOWNSTREAM_DATA => Ok(stream()?.read_buffer.clone()),
        buffer_type::UPSTREAM_DATA => Ok(stream()?.write_buffer.clone()),
        buffer_type::VM_CONFIGURATION => Ok(state.vm_configuration.to_vec()),
        buffer_type::PLUGIN_CONFIGURATION => {
            state.configuration.as_ref().map(|json| json.to_vec()).ok_or(Status::NotFound)
        }
        0..=buffer_type::MAX => Err(Status::NotFound),
        _ => Err(Status::BadArgument),
    }
}

fn get_property(vm: &mut Vm<'_>, path: u32, path_size: u32, to_place: u32, to_size: u32) -> Answer {
    let path = read(vm, path, path_size)?;
    note(vm, &path);
    let value = property(vm.data(), vm.data().acting(), &path)?;
    hand_over(vm, &value, to_place, to_size)
}

/// Sets the filter state `wasm.<path>`. Only a connection has filter state.
fn set_property(vm: &mut Vm<'_>, path: u32, path_size: u32, value: u32, size: u32) -> Answer {
    let (path, value) = (read_text(vm, path, path_size)?, read(vm, value, size)?);
    note(vm, path.as_bytes());
    let state = vm.data_mut();
    let stream = state.stream_mut(state.acting()).ok_or(Status::NotFound)?;
    stream.filter_state.insert(format!("wasm.{path}"), value);
    Ok(())
}

/// Each call on shared data is one step under a lock; other threads may run between two of them.
fn let_others_go_first(vm: &mut Vm<'_>) {
    let faster = vm.data().process.borrow_mut().faster();
    if let Some(act) = faster {
        act();
    }
}

fn get_shared_data(
    vm: &mut Vm<'_>,
    key: u32,
    key_size: u32,
    to_place: u32,
    to_size: u32,
    to_cas: u32,
) -> Answer {
    let key = read(vm, key, key_size)?;
    let_others_go_first(vm);
    let found = vm.data().process.borrow().shared_data.get(&vm.data().vm_id, &key);
    let (value, cas) = found.ok_or(Status::NotFound)?;
    hand_over(vm, &value, to_place, to_size)?;
    write(vm, to_cas, &cas.to_le_bytes())
}

fn set_shared_data(
    vm: &mut Vm<'_>,
    key: u32,
    key_size: u32,
    value: u32,
    size: u32,
    cas: u32,
) -> Answer {
    let (key, value) = (read(vm, key, key_size)?, read(vm, value, size)?);
    let_others_go_first(vm);
    let state = vm.data();
    match state.process.borrow_mut().shared_data.set(&state.vm_id, &key, &value, cas) {
        Status::Ok => Ok(()),
        status => Err(status.into()),
    }
}

/// Defers resuming until the callback has returned. Only reading from the client can be resumed.
fn continue_stream(vm: &mut Vm<'_>, stream: u32) -> Answer {
    match stream {
        stream_type::DOWNSTREAM => defer(vm, Deferred::Resume),
        stream_type::UPSTREAM => Err(Status::Unimplemented.into()),
        _ => Err(Status::BadArgument.into()),
    }
}

/// Defers closing until the callback has returned. Both sides of a network filter are the same
/// connection.
fn close_stream(vm: &mut Vm<'_>, stream: u32) -> Answer {
    match stream {
        stream_type::DOWNSTREAM | stream_type::UPSTREAM => defer(vm, Deferred::Close),
        0..=stream_type::MAX => Ok(()),
        _ => Err(Status::BadArgument.into()),
    }
}

/// For a root context there is nothing to do, which is not an error.
fn defer(vm: &mut Vm<'_>, action: fn(u32) -> Deferred) -> Answer {
    let state = vm.data_mut();
    let context = state.acting();
    if state.stream(context).is_some() {
        state.deferred.push_back(action(context));
    }
    Ok(())
}

/// 0 is the VM's own context: it switches back to the one for which the callback was called.
fn set_effective_context(vm: &mut Vm<'_>, context: u32) -> Answer {
    let state = vm.data_mut();
    if context != 0 && !state.contexts.contains_key(&context) {
        return Err(Status::BadArgument.into());
    }
    state.effective = context;
    Ok(())
}

fn call_foreign_function(
    vm: &mut Vm<'_>,
    name: u32,
    name_size: u32,
    argument: u32,
    size: u32,
    to_place: u32,
    to_size: u32,
) -> Answer {
    let (name, argument) = (read(vm, name, name_size)?, read(vm, argument, size)?);
    note(vm, &name);
    let state = vm.data_mut();
    let status = foreign::call(state, state.acting(), &name, &argument);
    if status != Status::Ok {
        return Err(status.into());
    }
    hand_over(vm, &[], to_place, to_size)
}

fn define_metric(vm: &mut Vm<'_>, kind: u32, name: u32, size: u32, to: u32) -> Answer {
    let name = read_text(vm, name, size)?;
    note(vm, name.as_bytes());
    let VmState { process, metrics, .. } = vm.data_mut();
    let number = metrics.define(&mut process.borrow_mut().metrics, kind, &name)?;
    write(vm, to, &number.to_le_bytes())
}

fn increment_metric(vm: &mut Vm<'_>, metric: u32, offset: i64) -> Answer {
    let VmState { process, metrics, .. } = vm.data_mut();
    Ok(metrics.increment(&mut process.borrow_mut().metrics, metric, offset)?)
}

fn record_metric(vm: &mut Vm<'_>, metric: u32, value: u64) -> Answer {
    let VmState { process, metrics, .. } = vm.data_mut();
    Ok(metrics.record(&mut process.borrow_mut().metrics, metric, value)?)
}

fn get_metric(vm: &mut Vm<'_>, metric: u32, to: u32) -> Answer {
    let VmState { process, metrics, .. } = vm.data_mut();
    let value = metrics.get(&process.borrow().metrics, metric)?;
    write(vm, to, &value.to_le_bytes())
}
