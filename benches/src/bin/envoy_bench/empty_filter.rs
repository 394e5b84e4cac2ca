//! A wasm filter that does nothing: the price of being called at all.
//!
//! It exports the functions that Envoy calls for a connection. Each returns at once, and lets the
//! connection continue.

use wasm_encoder::{
    CodeSection, ExportKind, ExportSection, Function, FunctionSection, MemorySection, MemoryType,
    Module, TypeSection, ValType,
};

/// A function that Envoy calls: its name, the number of its parameters, and what it returns.
type Callback = (&'static str, usize, Option<i32>);

const CALLBACKS: [Callback; 13] = [
    ("proxy_abi_version_0_2_1", 0, None),
    // Envoy requires it, for what a module asks for. This one asks for nothing.
    ("malloc", 1, Some(0)),
    ("proxy_on_vm_start", 2, Some(1)),
    ("proxy_on_configure", 2, Some(1)),
    ("proxy_on_context_create", 2, None),
    ("proxy_on_new_connection", 1, Some(0)),
    ("proxy_on_downstream_data", 3, Some(0)),
    ("proxy_on_upstream_data", 3, Some(0)),
    ("proxy_on_downstream_connection_close", 2, None),
    ("proxy_on_upstream_connection_close", 2, None),
    ("proxy_on_done", 1, Some(1)),
    ("proxy_on_log", 1, None),
    ("proxy_on_delete", 1, None),
];

/// The module's bytes.
pub(crate) fn module() -> Vec<u8> {
    let (mut types, mut functions) = (TypeSection::new(), FunctionSection::new());
    let (mut exports, mut code) = (ExportSection::new(), CodeSection::new());
    for (index, &(name, parameters, result)) in (0..).zip(&CALLBACKS) {
        let results = result.map(|_| ValType::I32);
        types.ty().function(vec![ValType::I32; parameters], results);
        functions.function(index);
        exports.export(name, ExportKind::Func, index);
        let mut body = Function::new([]);
        if let Some(result) = result {
            body.instructions().i32_const(result);
        }
        body.instructions().end();
        code.function(&body);
    }
    let mut memory = MemorySection::new();
    memory.memory(MemoryType {
        minimum: 64,
        maximum: None,
        memory64: false,
        shared: false,
        page_size_log2: None,
    });
    exports.export("memory", ExportKind::Memory, 0);
    let mut module = Module::new();
    module.section(&types).section(&functions).section(&memory).section(&exports).section(&code);
    module.finish()
}
