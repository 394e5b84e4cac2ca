//! The module: built, compiled once per process, and linked with the host functions.

use crate::imports;
use crate::vm_state::VmState;
use anyhow::{Context, Result, anyhow};
use std::path::Path;
use std::sync::OnceLock;
use wasmtime::{Config, Engine, InstancePre, Linker, Module, OptLevel};

/// Whether executed instructions are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Metering {
    /// Each executed instruction consumes fuel, which gives exact and repeatable figures.
    Fuel,
    /// Nothing is counted, so the module runs at the speed that an operator sees.
    Off,
}

/// A compiled module from which VMs are created. V8 does the same: it compiles once and clones.
pub struct FilterModule {
    pub(crate) engine: Engine,
    pub(crate) pre: InstancePre<VmState>,
    pub(crate) metering: Metering,
}

impl FilterModule {
    /// The filter, built from this checkout and compiled once in this process.
    ///
    /// # Panics
    /// If it cannot be built or is not a proxy-wasm module: no test could go on.
    #[allow(clippy::panic, reason = "every test needs the module")]
    pub fn shared(metering: Metering) -> &'static Self {
        static FUEL: OnceLock<Result<FilterModule>> = OnceLock::new();
        static OFF: OnceLock<Result<FilterModule>> = OnceLock::new();
        let compiled = match metering {
            Metering::Fuel => &FUEL,
            Metering::Off => &OFF,
        };
        // Failures are kept, too: every test reports them, and none repeats a build that takes a
        // minute.
        match compiled.get_or_init(|| Self::compile(&xtask::wasm::build()?, metering)) {
            Ok(module) => module,
            Err(error) => panic!("the filter module cannot be used: {error:?}"),
        }
    }

    /// Compiles a module.
    ///
    /// # Errors
    /// If it is not WebAssembly, or does not export a known version of the ABI.
    pub fn compile(path: &Path, metering: Metering) -> Result<Self> {
        let mut config = Config::new();
        config.consume_fuel(metering == Metering::Fuel);
        config.cranelift_opt_level(OptLevel::Speed);
        let engine = Engine::new(&config).map_err(wasm_error)?;
        let bytes =
            std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        let module = Module::new(&engine, bytes).map_err(wasm_error)?;
        if module.get_export("proxy_abi_version_0_2_1").is_none() {
            return Err(anyhow!(
                "missing or unknown Proxy-Wasm ABI version: no export proxy_abi_version_0_2_1"
            ));
        }
        let mut linker = Linker::new(&engine);
        imports::register(&mut linker).map_err(wasm_error)?;
        linker.define_unknown_imports_as_traps(&module).map_err(wasm_error)?;
        let pre = linker.instantiate_pre(&module).map_err(wasm_error)?;
        Ok(Self { engine, pre, metering })
    }
}

/// Converts an error of wasmtime to one of ours, with all its causes.
pub(crate) fn wasm_error(error: wasmtime::Error) -> anyhow::Error {
    anyhow!("{error:?}")
}
