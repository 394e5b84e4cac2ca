//! The work of each tick of a scope.
//!
//! All work is bounded per tick, not per connection, because anyone can open any number of
//! connections that name an exported service and never finish a handshake. The waits between looks
//! at a connection grow longer and longer ([`wait_after`]). Each tick looks at, resumes and closes
//! only a limited number of connections.
//!
//! The limit on closes has a second reason. Envoy carries out what a callback requested *after* it,
//! and closing a connection calls back again. So a thousand closes in one callback nest a thousand
//! calls deep on Envoy's stack.

use crate::connection::{Connection, State};
use crate::host::{ContextId, Host};
use crate::identity::Identity;
use crate::report::report;
use crate::scope::{FAST, Scope};
use std::cmp::Reverse;
use std::rc::Rc;
use std::time::Duration;

/// How many waiting connections one tick looks at.
const LOOKS: usize = 64;
/// How many connections one tick closes: 64 per millisecond.
const CLOSES: usize = 64;

impl<H: Host> Scope<H> {
    pub(crate) fn tick(&self, root: ContextId) {
        if !self.ticks(root) {
            return self.host.set_tick_period(Duration::ZERO);
        }
        let now = self.clock.advance(self.host.now());
        self.look_at_shared(now);
        self.look_at_waiting(now);
        self.close_some();
        self.keep_pace();
    }

    fn look_at_waiting(&self, now: Duration) {
        let Some(configuration) = self.configuration() else { return };
        let timeout = Duration::from_millis(configuration.options.identity_timeout_ms.into());
        for connection in self.take_due(now) {
            if !self.host.act_for(connection.id) {
                // The proxy ended the connection without notice.
                self.forget(&connection);
                continue;
            }
            let age = now.saturating_sub(connection.admitted_at);
            let too_late = || (age >= timeout).then(Identity::default);
            match Identity::read(&self.host).or_else(too_late) {
                Some(identity) => self.settle(&connection, identity),
                None => self.look_at(now.saturating_add(wait_after(age)), &connection),
            }
        }
    }

    /// The waiting connections that are due. Those that were decided in the meantime do not count
    /// towards the limit.
    fn take_due(&self, now: Duration) -> Vec<Rc<Connection>> {
        let mut due = Vec::new();
        let mut looks = self.looks.borrow_mut();
        while due.len() < LOOKS && looks.peek().is_some_and(|Reverse(look)| look.at <= now) {
            due.extend(
                looks
                    .pop()
                    .map(|Reverse(look)| look.connection)
                    .filter(|connection| connection.is(State::Awaiting)),
            );
        }
        due
    }

    /// Decides without data: after the handshake, the client may wait silently for the server's
    /// first bytes.
    fn settle(&self, connection: &Connection, identity: Identity) {
        let passes = self.decide_by(connection, identity);
        if !passes || self.host.resume_downstream().is_err() {
            self.close_now();
        }
    }

    /// Closes some of the connections that are to be closed.
    fn close_some(&self) {
        for _ in 0..CLOSES {
            let Some((connection, record)) = self.closing.borrow_mut().pop_front() else { return };
            if connection.is(State::Closing) && self.host.act_for(connection.id) {
                report(&self.host, &self.metrics, &record, &connection.server_name);
                self.close_now();
            }
        }
    }
}

/// The wait before the next look at a connection of this age: a quarter of its age. So a finished
/// handshake is noticed at most a quarter late, and 15 seconds of silence cost about 35 looks.
fn wait_after(age: Duration) -> Duration {
    FAST.max(age / 4)
}
