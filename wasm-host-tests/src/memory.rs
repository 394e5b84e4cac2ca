//! The module's memory. Host functions receive and return addresses in it.

use crate::abi::Status;
use crate::vm_state::VmState;
use wasmtime::{AsContext, AsContextMut, Caller, Memory};

/// A host function's view of the calling VM.
pub(crate) type Vm<'a> = Caller<'a, VmState>;

/// A host function ends with a status for the module or, if the host itself fails, with a trap.
pub(crate) enum Failure {
    Answer(Status),
    Trap(wasmtime::Error),
}

impl From<Status> for Failure {
    fn from(status: Status) -> Self {
        Self::Answer(status)
    }
}

impl From<wasmtime::Error> for Failure {
    fn from(error: wasmtime::Error) -> Self {
        Self::Trap(error)
    }
}

fn memory(vm: &Vm<'_>) -> Result<Memory, Failure> {
    vm.data().memory.ok_or(Failure::Answer(Status::InvalidMemoryAccess))
}

/// Reads `size` bytes at `address`.
pub(crate) fn read(vm: &Vm<'_>, address: u32, size: u32) -> Result<Vec<u8>, Failure> {
    let start = address as usize;
    let bytes = memory(vm)?.data(vm.as_context()).get(start..start.saturating_add(size as usize));
    Ok(bytes.ok_or(Status::InvalidMemoryAccess)?.to_vec())
}

/// Reads a text; the module's texts are Rust strings.
pub(crate) fn read_text(vm: &Vm<'_>, address: u32, size: u32) -> Result<String, Failure> {
    Ok(String::from_utf8_lossy(&read(vm, address, size)?).into_owned())
}

/// Writes bytes at `address`.
pub(crate) fn write(vm: &mut Vm<'_>, address: u32, bytes: &[u8]) -> Result<(), Failure> {
    let memory = memory(vm)?;
    memory
        .write(vm.as_context_mut(), address as usize, bytes)
        .map_err(|_| Status::InvalidMemoryAccess.into())
}

/// Passes bytes to the module (`copyToPointerSize`). They go to memory from the module's `malloc`;
/// their address and length are written to the two pointers. The module then owns the memory. Empty
/// bytes are passed as a null pointer.
pub(crate) fn hand_over(
    vm: &mut Vm<'_>,
    bytes: &[u8],
    pointer_to: u32,
    to_size: u32,
) -> Result<(), Failure> {
    let mut address = 0;
    if !bytes.is_empty() {
        let malloc = vm.data().malloc.clone().ok_or(Status::InvalidMemoryAccess)?;
        address = malloc.call(vm.as_context_mut(), bytes.len() as u32)?;
        write(vm, address, bytes)?;
    }
    write(vm, pointer_to, &address.to_le_bytes())?;
    write(vm, to_size, &(bytes.len() as u32).to_le_bytes())
}
