//! This machine's resolver: `/etc/hosts` first, then the name servers in `/etc/resolv.conf`. Both
//! files are read again at short intervals.

use super::families::{OfFamily, together};
use super::{Found, Resolve};
use fedgate_core::Hostname;
use fedgate_federation::shown;
use futures_util::future::{BoxFuture, join};
use hickory_resolver::config::ResolveHosts;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::Query;
use hickory_resolver::proto::rr::{Name, RecordType};
use hickory_resolver::{Hosts, ResolverBuilder, TokioResolver};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::time::timeout;

/// How long the contents of the two files are reused.
const FRESH: Duration = Duration::from_secs(5);
/// How long an address in `/etc/hosts` is taken as valid. The file has no times, and costs little.
const IN_HOSTS: Duration = Duration::from_secs(30);
/// The time limit for one query to a name server.
const QUESTION: Duration = Duration::from_secs(2);
/// The time limit for the addresses of one family. It is below that of a whole lookup, so that the
/// other family's addresses are used even if no server answers for this one.
const FAMILY: Duration = Duration::from_millis(4500);

/// Looks up names as this machine's own programs do, but without the search list: a name is always
/// complete.
#[derive(Default)]
pub(crate) struct SystemResolver {
    current: Mutex<Option<(Instant, Arc<Current>)>>,
}

/// The contents of the two files.
struct Current {
    hosts: Hosts,
    /// The error says in words for operators why there are no name servers.
    servers: Result<TokioResolver, String>,
}

impl Resolve for SystemResolver {
    fn look_up(&self, name: Hostname) -> BoxFuture<'_, Result<Found, String>> {
        Box::pin(async move {
            let current = self.current();
            let complete = Name::from_ascii(format!("{name}."))
                .map_err(|_| "not a name that DNS can have".to_owned())?;
            match current.in_hosts(&complete) {
                addresses if addresses.is_empty() => current.ask(complete).await,
                addresses => Ok(Found { addresses, time_to_live: IN_HOSTS, failure: None }),
            }
        })
    }
}

impl SystemResolver {
    fn current(&self) -> Arc<Current> {
        let mut kept = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        match kept.as_ref().filter(|(read, _)| read.elapsed() < FRESH) {
            Some((_, current)) => Arc::clone(current),
            None => {
                let current = Arc::new(Current::read());
                *kept = Some((Instant::now(), Arc::clone(&current)));
                current
            }
        }
    }
}

impl Current {
    fn read() -> Self {
        Self { hosts: Hosts::from_system().unwrap_or_default(), servers: servers() }
    }

    /// The addresses in `/etc/hosts`, of both families.
    fn in_hosts(&self, name: &Name) -> Vec<IpAddr> {
        let of = |kind| self.hosts.lookup_static_host(&Query::query(name.clone(), kind));
        let found = [RecordType::A, RecordType::AAAA].into_iter().filter_map(of);
        found
            .flat_map(|lookup| {
                lookup
                    .answers()
                    .iter()
                    .filter_map(|record| record.data.ip_addr())
                    .collect::<Vec<_>>()
            })
            .collect()
    }

    async fn ask(&self, name: Name) -> Result<Found, String> {
        let servers = self.servers.as_ref().map_err(String::clone)?;
        let of = |kind| of_family(servers, &name, kind);
        let (v4, v6) = join(of(RecordType::A), of(RecordType::AAAA)).await;
        together(v4, v6)
    }
}

/// Asks for the records of one kind. Hickory's own lookup of both families does not say whether one
/// of them failed.
async fn of_family(servers: &TokioResolver, name: &Name, kind: RecordType) -> OfFamily {
    let found = timeout(FAMILY, servers.lookup(name.clone(), kind)).await;
    match found.unwrap_or(Err(NetError::Timeout)) {
        Ok(answer) => OfFamily::Addresses(
            answer.answers().iter().filter_map(|record| record.data.ip_addr()).collect(),
            answer.valid_until().saturating_duration_since(Instant::now()),
        ),
        Err(error) if error.is_nx_domain() => OfFamily::None(NO_NAME),
        Err(error) if error.is_no_records_found() => OfFamily::None(NO_ADDRESS),
        Err(error) => OfFamily::Failed(describe(&error)),
    }
}

fn servers() -> Result<TokioResolver, String> {
    TokioResolver::builder_tokio().and_then(built).map_err(|error| {
        format!(
            "/etc/resolv.conf names no name server that can be asked: {}",
            shown(&error.to_string())
        )
    })
}

fn built(mut builder: ResolverBuilder<TokioRuntimeProvider>) -> Result<TokioResolver, NetError> {
    let options = builder.options_mut();
    options.use_hosts_file = ResolveHosts::Never;
    options.timeout = QUESTION;
    options.attempts = 1;
    builder.build()
}

const NO_NAME: &str = "DNS says that there is no such name (NXDOMAIN)";
const NO_ADDRESS: &str = "DNS knows no address of it";

/// A failure in words for operators.
fn describe(error: &NetError) -> String {
    match error {
        NetError::Timeout => "no name server answers".to_owned(),
        NetError::Dns(DnsError::ResponseCode(code)) => format!("the name servers answer {code:?}"),
        NetError::Io(error) => {
            format!("the name servers cannot be asked: {}", shown(&error.to_string()))
        }
        error => {
            tracing::debug!(%error, "a look-up failed");
            "the name servers give no answer that can be used".to_owned()
        }
    }
}

#[cfg(test)]
#[path = "system_tests.rs"]
mod tests;
