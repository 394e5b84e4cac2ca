//! A gateway that runs the real module.

use crate::exports::Question;
use fedgate_core::Outcome;
use fedgate_wasm_host::{Certificate, Client, FilterModule, Metering, Plugin, Proxy};

const LISTENER: &str = "federation";

/// A proxy with one worker, the module and a table.
pub struct Gateway {
    proxy: Proxy,
}

impl Gateway {
    /// # Panics
    /// If the module refuses the configuration.
    #[allow(clippy::expect_used, reason = "a bench needs its gateway")]
    pub fn new(metering: Metering, configuration: &str) -> Self {
        let mut proxy = Proxy::new(FilterModule::shared(metering));
        proxy
            .configure(LISTENER, Plugin::new("fedgate", configuration))
            .expect("the configuration is taken");
        Self { proxy }
    }

    /// Clients that ask these questions, with the expected outcomes.
    pub fn clients(questions: &[Question]) -> Vec<(Client, Outcome)> {
        let certificate = |question: &Question| Certificate::new(&[&question.uri_san]);
        let client = |question: &Question| {
            Client::calling(&question.server_name).with(&certificate(question))
        };
        questions.iter().map(|question| (client(question), question.outcome)).collect()
    }

    /// The whole life of a connection: it opens, finishes its handshake, sends a request, gets an
    /// answer, and ends. If it is refused, it ends earlier.
    ///
    /// # Panics
    /// If the outcome is not the expected one.
    pub fn live(&mut self, client: &Client, expected: Outcome) {
        let connection = self.proxy.connect(LISTENER, client.clone());
        self.proxy.client_finishes_handshake(connection);
        self.proxy.client_sends(connection, b"hello");
        let passes = self.proxy.stream(connection).upstream().is_some();
        assert_eq!(passes, expected == Outcome::Allowed);
        if passes {
            self.proxy.server_sends(connection, b"hello");
            self.proxy.client_disconnects(connection);
        }
        assert!(self.proxy.stream(connection).ending().is_some());
        self.proxy.forget_ended();
    }

    /// Lets a tick happen, so that the filter can clean up.
    pub fn tick(&mut self) {
        self.proxy.advance(600);
    }

    /// The fuel that all callbacks have consumed so far.
    pub fn fuel(&self) -> u64 {
        self.proxy.fuel()
    }
}
