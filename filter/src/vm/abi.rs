//! The exports: proxy-wasm's callbacks, forwarded to plain code.

use super::imports::Proxy;
use super::{Root, Stream, Vm};
use crate::host::Action;
use proxy_wasm::traits::{Context, RootContext, StreamContext};
use proxy_wasm::types::{Action as ProxyAction, ContextType, LogLevel};
use std::rc::Rc;

thread_local! {
    static VM: Rc<Vm<Proxy>> = Vm::new(Proxy);
}

proxy_wasm::main! {{
    // This also installs the SDK's panic hook: if a panic ever happens, the proxy's log shows where.
    proxy_wasm::set_log_level(LogLevel::Info);
    proxy_wasm::set_root_context(|id| Box::new(RootCallbacks(VM.with(|vm| vm.root(id)))));
}}

struct RootCallbacks(Root<Proxy>);

impl Context for RootCallbacks {
    fn on_done(&mut self) -> bool {
        self.0.on_done();
        true
    }
}

impl RootContext for RootCallbacks {
    fn on_configure(&mut self, _size: usize) -> bool {
        self.0.on_configure()
    }

    fn on_tick(&mut self) {
        self.0.on_tick();
    }

    fn create_stream_context(&self, id: u32) -> Option<Box<dyn StreamContext>> {
        Some(Box::new(StreamCallbacks(self.0.stream(id))))
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::StreamContext)
    }
}

struct StreamCallbacks(Stream<Proxy>);

impl Context for StreamCallbacks {
    fn on_done(&mut self) -> bool {
        self.0.on_done();
        true
    }
}

impl StreamContext for StreamCallbacks {
    fn on_new_connection(&mut self) -> ProxyAction {
        proxy_action(self.0.on_new_connection())
    }

    fn on_downstream_data(&mut self, _size: usize, _end_of_stream: bool) -> ProxyAction {
        proxy_action(self.0.on_downstream_data())
    }

    fn on_upstream_data(&mut self, _size: usize, _end_of_stream: bool) -> ProxyAction {
        proxy_action(self.0.on_upstream_data())
    }
}

fn proxy_action(action: Action) -> ProxyAction {
    match action {
        Action::Continue => ProxyAction::Continue,
        Action::Pause => ProxyAction::Pause,
    }
}
