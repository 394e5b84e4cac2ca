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

use super::host::{ContextId, Host};
use super::look::Look;
use super::scope::{FAST, Scope};
use crate::connection::State;
use crate::host::{Host as _, Identity};
use std::cmp::Reverse;
use std::time::Duration;

/// How many waiting connections one tick looks at.
const LOOKS: usize = 64;
/// How many connections one tick closes: 64 per millisecond.
const CLOSES: usize = 64;

impl<H: Host> Scope<H> {
    pub(crate) fn tick(&self, root: ContextId) {
        if !self.ticks(root) {
            return self.host().set_tick_period(Duration::ZERO);
        }
        let now = self.clock.advance(self.host().now());
        self.look_at_shared(now);
        self.take_fresh(now);
        self.look_at_waiting(now);
        self.gateway.close_some(CLOSES);
        self.keep_pace();
    }

    /// Has this tick and later ones look at the connections that began since the last one.
    fn take_fresh(&self, now: Duration) {
        let mut fresh = self.fresh.borrow_mut();
        let awaiting = fresh.drain(..).filter(|connection| connection.is(State::Awaiting));
        let look = |connection| Reverse(Look { at: now, admitted_at: now, connection });
        self.looks.borrow_mut().extend(awaiting.map(look));
    }

    /// Decides without data: after the handshake, the client may wait silently for the server's
    /// first bytes.
    fn look_at_waiting(&self, now: Duration) {
        let Some(configuration) = self.gateway.configuration() else { return };
        let timeout = Duration::from_millis(configuration.options.identity_timeout_ms.into());
        for look in self.take_due(now) {
            let Look { admitted_at, connection, .. } = look;
            if !self.host().act_for(connection.id) {
                // The proxy ended the connection without notice.
                self.gateway.forget(&connection);
                continue;
            }
            let age = now.saturating_sub(admitted_at);
            let too_late = || (age >= timeout).then(Identity::default);
            match self.gateway.host.identity().or_else(too_late) {
                Some(identity) => self.gateway.settle(&connection, identity),
                None => {
                    let at = now.saturating_add(wait_after(age));
                    self.looks.borrow_mut().push(Reverse(Look { at, admitted_at, connection }));
                }
            }
        }
    }

    /// The waiting connections that are due. Those that were decided in the meantime do not count
    /// towards the limit.
    fn take_due(&self, now: Duration) -> Vec<Look> {
        let mut due = Vec::new();
        let mut looks = self.looks.borrow_mut();
        while due.len() < LOOKS && looks.peek().is_some_and(|Reverse(look)| look.at <= now) {
            due.extend(
                looks
                    .pop()
                    .map(|Reverse(look)| look)
                    .filter(|look| look.connection.is(State::Awaiting)),
            );
        }
        due
    }
}

/// The wait before the next look at a connection of this age: a quarter of its age. So a finished
/// handshake is noticed at most a quarter late, and 15 seconds of silence cost about 35 looks.
fn wait_after(age: Duration) -> Duration {
    FAST.max(age / 4)
}
