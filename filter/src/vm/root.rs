//! One VM: its scopes, and the callbacks of its root contexts.

use super::host::{ContextId, Host, Property};
use super::scope::Scope;
use super::stream::Stream;
use std::cell::{OnceCell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

/// The state of one VM, shared by all plugins that run in it.
#[derive(Debug)]
pub struct Vm<H> {
    host: H,
    scopes: RefCell<BTreeMap<Box<str>, Rc<Scope<H>>>>,
}

impl<H: Host + Clone> Vm<H> {
    /// An empty VM.
    pub fn new(host: H) -> Rc<Self> {
        Rc::new(Self { host, scopes: RefCell::default() })
    }

    /// A root context of this VM.
    pub fn root(self: &Rc<Self>, id: ContextId) -> Root<H> {
        Root { id, vm: Rc::clone(self), scope: OnceCell::new() }
    }

    fn scope(&self, name: &str) -> Rc<Scope<H>> {
        let mut scopes = self.scopes.borrow_mut();
        if let Some(scope) = scopes.get(name) {
            return Rc::clone(scope);
        }
        let scope = Rc::new(Scope::new(self.host.clone(), name));
        scopes.insert(name.into(), Rc::clone(&scope));
        scope
    }
}

/// The callbacks of one configured plugin.
#[derive(Debug)]
pub struct Root<H: Host> {
    id: ContextId,
    vm: Rc<Vm<H>>,
    scope: OnceCell<Rc<Scope<H>>>,
}

impl<H: Host + Clone> Root<H> {
    /// The plugin is configured; returns false to refuse the configuration.
    pub fn on_configure(&mut self) -> bool {
        self.scope().configure(self.id)
    }

    /// The root context is ticked.
    pub fn on_tick(&mut self) {
        self.scope().tick(self.id);
    }

    /// The plugin ends: its last connection is gone, and it is no longer configured.
    pub fn on_done(&mut self) {
        let scope = self.scope();
        if scope.leave(self.id) {
            self.vm.scopes.borrow_mut().remove(&scope.name);
        }
    }

    /// A connection of this plugin.
    pub fn stream(&self, id: ContextId) -> Stream<H> {
        Stream::new(id, self.scope())
    }

    fn scope(&self) -> Rc<Scope<H>> {
        Rc::clone(self.scope.get_or_init(|| {
            let name = self
                .vm
                .host
                .property(Property::RootId)
                .and_then(|name| String::from_utf8(name).ok());
            self.vm.scope(&name.unwrap_or_default())
        }))
    }
}
