//! What a module costs the proxy: the callbacks that it receives, and the host functions that it
//! calls in each.

use crate::proxy::Proxy;

/// One entry into the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Callback {
    /// The callback's name in the ABI, without `proxy_`.
    pub name: &'static str,
    /// The host functions that it called, in order: the name in the ABI without `proxy_`, and what
    /// the call was about, if that is a text.
    pub calls: Vec<String>,
    /// The fuel that it consumed, if metered.
    pub fuel: u64,
}

/// The callbacks since the recording began; `None` if nothing is recorded.
#[derive(Debug, Default)]
pub(crate) struct Trace(Option<Vec<Callback>>);

impl Trace {
    pub(crate) fn enter(&mut self, name: &'static str) {
        if let Some(callbacks) = &mut self.0 {
            callbacks.push(Callback { name, calls: Vec::new(), fuel: 0 });
        }
    }

    /// The callback that was entered last has returned. Host functions do not call the module, so
    /// callbacks are never nested.
    pub(crate) fn leave(&mut self, fuel: u64) {
        if let Some(callback) = self.last() {
            callback.fuel = fuel;
        }
    }

    pub(crate) fn call(&mut self, function: &str) {
        if let Some(callback) = self.last() {
            callback.calls.push(function.to_owned());
        }
    }

    /// Adds what the last call is about.
    pub(crate) fn about(&mut self, text: &str) {
        if let Some(call) = self.last().and_then(|callback| callback.calls.last_mut()) {
            *call = format!("{call} {}", text.replace('\0', "."));
        }
    }

    fn last(&mut self) -> Option<&mut Callback> {
        self.0.as_mut()?.last_mut()
    }
}

impl Proxy {
    /// Records the module's callbacks from now on.
    pub fn start_trace(&mut self) {
        self.process.borrow_mut().trace = Trace(Some(Vec::new()));
    }

    /// Ends the recording, and returns the callbacks that the VMs of the process received.
    pub fn take_trace(&mut self) -> Vec<Callback> {
        std::mem::take(&mut self.process.borrow_mut().trace).0.unwrap_or_default()
    }
}
