//! Which certificate each Pod of the gateway shows: the leader asks the Pods in a TLS handshake.
//!
//! istiod issues the certificates and each Pod's agent renews its own, so a gateway can be refused
//! by every peer while all objects in the cluster are as they should be. What the Pods show is
//! judged where everything is compiled (`Credentials::of_gateway`).
//!
//! Only the leader asks. Findings, metrics and what is written down are the leader's, and each
//! question is a line in the gateway's access log. Whoever begins to lead goes on from what the
//! last leader wrote down until the Pods have answered.

mod answers;

use crate::api::watch::{Key, Watched};
use crate::replica::as_leader::AsLeader;
use crate::settings::ControllerSettings;
use crate::sources::Sources;
use crate::sources::gateway::GatewayService;
use crate::sources::pod::GatewayPod;
use answers::{Answer, Answers};
use fedgate_core::ServiceName;
use fedgate_engine::in_force::InForce;
use fedgate_exchange::probe::presented;
use fedgate_federation::ObjectRef;
use fedgate_federation::bundle::{Fingerprint, Root};
use fedgate_federation::credentials::PodChain;
use fedgate_federation::object::GatewayMode;
use futures_util::stream::{self, StreamExt};
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

/// How many Pods are asked; of more, the first by name. All have their certificates from one
/// istiod.
const MOST: usize = 64;
/// How many are asked at once.
const AT_ONCE: usize = 8;
/// The time for one.
const PATIENCE: Duration = Duration::from_secs(5);
/// How soon after a change of the Pods or of this cluster's roots.
const SOON: Duration = Duration::from_secs(1);

/// What each Pod of the gateway shows, by the Pod's name: certificates in DER, the leaf first.
pub(super) type Presented = BTreeMap<String, Arc<[Vec<u8>]>>;

/// The same, for being judged.
pub(super) fn chains<'a>(presented: Option<&'a Presented>, namespace: &str) -> Vec<PodChain<'a>> {
    let chain = |(pod, certificates): (&String, &'a Arc<[Vec<u8>]>)| PodChain {
        object: ObjectRef { namespace: Some(namespace.to_owned()), ..ObjectRef::new("Pod", pod) },
        certificates,
    };
    presented.into_iter().flatten().map(chain).collect()
}

/// What has to be known to ask.
pub(super) struct Question {
    /// Where the gateway's Service is.
    service: Key,
    /// Its port.
    port: u16,
    services: Watched<GatewayService>,
    pods: Watched<GatewayPod>,
    as_leader: AsLeader,
}

/// What is asked. When it differs from what was asked last, the Pods are asked soon.
#[derive(Debug, Clone, PartialEq)]
struct Asked {
    /// What the gateway is asked for; `None`: nothing is exported, and it lets nobody in.
    service: Option<ServiceName>,
    roots: Vec<Fingerprint>,
    pods: BTreeMap<String, SocketAddr>,
}

impl Question {
    pub(super) fn new(
        settings: &ControllerSettings,
        sources: &Sources,
        as_leader: AsLeader,
    ) -> Self {
        let (namespace, name) =
            (settings.namespaces.gateway().to_owned(), settings.gateway.service.clone());
        let (services, pods) = (sources.gateway_services().clone(), sources.pods().clone());
        Self {
            service: Key { namespace, name },
            port: settings.gateway.port,
            services,
            pods,
            as_leader,
        }
    }

    /// `None`: it is not for this replica to ask.
    fn now(&self) -> Option<Asked> {
        let compiled = self.as_leader.compiled()?;
        let InForce { federation, local, .. } = &compiled.in_force;
        let service = self.services.all().remove(&self.service);
        let ready = self.pods.all().into_iter().filter(|(_, pod)| pod.is_ready());
        let pods =
            ready.filter_map(|(key, pod)| Some((key.name, self.address(service.as_ref(), &pod)?)));
        let terminated =
            federation.exports.iter().find(|export| export.mode == GatewayMode::Terminate);
        Some(Asked {
            service: federation.health.clone().or_else(|| Some(terminated?.service.clone())),
            roots: local.roots.iter().map(Root::fingerprint).collect(),
            pods: pods.take(MOST).collect(),
        })
    }

    /// Where a Pod listens for peers. Without a Service (addresses are advertised by hand) its port
    /// is that of the setting.
    fn address(&self, service: Option<&GatewayService>, pod: &GatewayPod) -> Option<SocketAddr> {
        let port = service.map_or(Some(self.port), |service| service.port_of(pod, self.port));
        Some(SocketAddr::from((pod.ip?, port?)))
    }
}

/// Asks for ever, and tells what the Pods show.
pub(super) async fn ask(mut question: Question, tell: watch::Sender<Option<Presented>>) {
    let (mut answers, mut asked, mut next) = (Answers::default(), None, Instant::now());
    loop {
        let Some(now) = question.now() else {
            (answers, asked) = (Answers::default(), None);
            publish(&tell, None);
            question.as_leader.changed().await;
            continue;
        };
        if asked.as_ref() != Some(&now) {
            next = next.min(Instant::now() + SOON);
            asked = Some(now.clone());
        }
        if Instant::now() < next {
            tokio::select! {
                () = sleep_until(next) => {}
                () = question.as_leader.changed() => {}
            }
            continue;
        }
        let pause = answers.take(round(&now).await);
        publish(&tell, answers.known());
        next = Instant::now() + pause.min(answers.before_expiry(Timestamp::now()));
    }
}

fn publish(tell: &watch::Sender<Option<Presented>>, known: Option<Presented>) {
    tell.send_if_modified(|told| {
        let differs = *told != known;
        *told = known;
        differs
    });
}

/// Asks all Pods once.
async fn round(asked: &Asked) -> Vec<(String, Answer)> {
    let Some(service) = &asked.service else { return Vec::new() };
    let of_pod = |(name, address): (&String, &SocketAddr)| {
        let (name, address) = (name.clone(), *address);
        async move { (name, presented(address, service, PATIENCE).await.map(Arc::from)) }
    };
    stream::iter(asked.pods.iter().map(of_pod)).buffer_unordered(AT_ONCE).collect().await
}
