//! What Envoy's calls do.

use crate::abi::{self, Handle, Loading};
use crate::counters::Counters;
use crate::newest::Newest;
use crate::worker::{Envoy, Known, Worker};
use fedgate_filter::host::Action;
use fedgate_filter::metrics::{THREADS, gauges};
use fedgate_filter::{Configuration, Stream};
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::{self, ThreadId};

/// A configuration that Envoy has loaded.
pub(crate) struct Configured {
    /// The filter's name in Envoy's configuration.
    pub(crate) filter: String,
    pub(crate) newest: Arc<Newest>,
    pub(crate) counters: Counters,
}

/// Loads a configuration on the main thread; `None` refuses it, and the last one stays in force.
pub(crate) fn configure(loading: &Loading, filter: &str, json: &[u8]) -> Option<Arc<Configured>> {
    let newest = Newest::of(filter);
    let counters = match json.is_empty() {
        true => accept_no_table(loading, &newest),
        false => accept(loading, &newest, json)?,
    };
    Some(Arc::new(Configured { filter: filter.to_owned(), newest, counters }))
}

/// A gateway may start before its first table arrives; until then every connection is refused. An
/// empty configuration never replaces a table.
fn accept_no_table(loading: &Loading, newest: &Newest) -> Counters {
    Configuration::log_empty(newest.is_known(), abi::log);
    Counters::define(loading, None)
}

fn accept(loading: &Loading, newest: &Newest, json: &[u8]) -> Option<Counters> {
    let configuration = Configuration::read_or_log(json, abi::log)?;
    let counters = Counters::define(loading, Some(&configuration));
    let table = gauges(configuration.table());
    newest.replace(configuration);
    table.into_iter().for_each(|(gauge, value)| loading.show_gauge(gauge, value));
    // All workers and the main thread read one table.
    loading.show_gauge(THREADS, u64::from(abi::concurrency()).saturating_add(1));
    Some(counters)
}

/// One connection.
pub(crate) struct Connection {
    thread: ThreadId,
    known: Rc<Known>,
    worker: Rc<Worker>,
    stream: RefCell<Stream<Envoy>>,
}

impl Connection {
    pub(crate) fn new(handle: Handle, configured: Arc<Configured>) -> Self {
        let worker = Worker::of(&configured);
        let known = worker.open(handle, configured);
        let stream = RefCell::new(Stream::new(known.id, Rc::clone(&worker.gateway)));
        Self { thread: thread::current().id(), known, worker, stream }
    }

    pub(crate) fn on_new_connection(&self) -> Action {
        self.worker.catch_up();
        self.call(Stream::on_new_connection)
    }

    pub(crate) fn on_handshake(&self) {
        self.known.handshake_finished.set(true);
        self.worker.catch_up();
        self.call(Stream::on_handshake);
    }

    pub(crate) fn on_downstream_data(&self) -> Action {
        self.call(Stream::on_downstream_data)
    }

    pub(crate) fn on_upstream_data(&self) -> Action {
        self.call(Stream::on_upstream_data)
    }

    /// Envoy has closed the connection. From here on, no other connection and no other thread knows
    /// of it.
    pub(crate) fn leave(&self) {
        self.call(Stream::on_done);
        self.worker.drop_connection(self.known.id);
    }

    /// Returns true on any thread but the connection's.
    pub(crate) fn is_elsewhere(&self) -> bool {
        thread::current().id() != self.thread
    }

    /// The thread is woken by this connection's scheduler.
    pub(crate) fn on_wake(&self) {
        self.worker.wake();
        self.worker.envoy.carry_out();
    }

    /// The filter's requests are carried out after the call, so no call for this connection is
    /// nested in another one.
    fn call<T>(&self, callback: fn(&mut Stream<Envoy>) -> T) -> T {
        self.worker.envoy.act(&self.known);
        let result = callback(&mut self.stream.borrow_mut());
        self.worker.envoy.carry_out();
        result
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.stream.get_mut().on_done();
        self.worker.drop_connection(self.known.id);
    }
}
