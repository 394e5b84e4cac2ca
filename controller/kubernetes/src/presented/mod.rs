//! Which certificate each Pod of the gateway presents: the leader asks the Pods in a TLS handshake.
//!
//! istiod issues the certificates, and each Pod's agent renews its own. So all peers may refuse a
//! gateway although all objects in the cluster are right. The certificates are checked when
//! everything is compiled (`Credentials::of_gateway`).
//!
//! Only the leader asks, because findings, metrics and the stored record are the leader's, and each
//! question is a line in the gateway's access log. A new leader uses the last leader's record until
//! the Pods have answered.

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

/// The maximum number of Pods that are asked: the first by name. All of them have their
/// certificates from the same istiod, so a sample is enough.
const MOST: usize = 64;
/// How many Pods are asked at once.
const AT_ONCE: usize = 8;
/// The time limit for a Pod's answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// The pause after a change of the Pods or of this cluster's roots.
const SOON: Duration = Duration::from_secs(1);

/// The certificates that each Pod of the gateway presents, by the Pod's name: in DER, the leaf
/// first.
pub(super) type Presented = BTreeMap<String, Arc<[Vec<u8>]>>;

/// The same, in the form that is checked.
pub(super) fn chains<'a>(presented: Option<&'a Presented>, namespace: &str) -> Vec<PodChain<'a>> {
    let chain = |(pod, certificates): (&String, &'a Arc<[Vec<u8>]>)| PodChain {
        object: ObjectRef { namespace: Some(namespace.to_owned()), ..ObjectRef::new("Pod", pod) },
        certificates,
    };
    presented.into_iter().flatten().map(chain).collect()
}

/// Knows which Pods to ask, and for what.
pub(super) struct CertificatePoller {
    /// The gateway's Service.
    service: Key,
    /// The port of the Service.
    port: u16,
    /// Whether the gateway expects the PROXY protocol.
    proxy_protocol: bool,
    services: Watched<GatewayService>,
    pods: Watched<GatewayPod>,
    as_leader: AsLeader,
}

/// A question to the Pods. If it differs from the last one, it is asked soon.
#[derive(Debug, Clone, PartialEq)]
struct Question {
    /// The service to connect to; `None` if nothing is exported, because the gateway then refuses
    /// every connection.
    service: Option<ServiceName>,
    roots: Vec<Fingerprint>,
    pods: BTreeMap<String, SocketAddr>,
    proxy_protocol: bool,
}

impl CertificatePoller {
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
            proxy_protocol: settings.gateway.proxy_protocol,
            services,
            pods,
            as_leader,
        }
    }

    /// Asks forever, and publishes the answers.
    pub(super) async fn run(mut self, sender: watch::Sender<Option<Presented>>) {
        let (mut answers, mut asked, mut next) = (Answers::default(), None, Instant::now());
        loop {
            let Some(question) = self.question() else {
                (answers, asked) = (Answers::default(), None);
                publish(&sender, None);
                self.as_leader.changed().await;
                continue;
            };
            if asked.as_ref() != Some(&question) {
                next = next.min(Instant::now() + SOON);
                asked = Some(question.clone());
            }
            if Instant::now() < next {
                tokio::select! {
                    () = sleep_until(next) => {}
                    () = self.as_leader.changed() => {}
                }
                continue;
            }
            let pause = answers.take(round(&question).await);
            publish(&sender, answers.known());
            next = Instant::now() + pause.min(answers.before_expiry(Timestamp::now()));
        }
    }

    /// The present question; `None` if this replica must not ask.
    fn question(&self) -> Option<Question> {
        let compiled = self.as_leader.compiled()?;
        let InForce { federation, local, .. } = &compiled.in_force;
        let service = self.services.all().remove(&self.service);
        let ready = self.pods.all().into_iter().filter(|(_, pod)| pod.is_ready());
        let pods =
            ready.filter_map(|(key, pod)| Some((key.name, self.address(service.as_ref(), &pod)?)));
        // Pods come and go, and each change of the question asks all Pods of the gateway again.
        let terminated = federation
            .exports
            .iter()
            .find(|export| export.mode == GatewayMode::Terminate && export.pod.is_none());
        Some(Question {
            service: federation.health.clone().or_else(|| Some(terminated?.service.clone())),
            roots: local.roots.iter().map(Root::fingerprint).collect(),
            pods: pods.take(MOST).collect(),
            proxy_protocol: self.proxy_protocol,
        })
    }

    /// Where a Pod listens for peers. Without a Service (if addresses are configured) its port is
    /// the configured one.
    fn address(&self, service: Option<&GatewayService>, pod: &GatewayPod) -> Option<SocketAddr> {
        let port = service.map_or(Some(self.port), |service| service.port_of(pod, self.port));
        Some(SocketAddr::from((pod.ip?, port?)))
    }
}

fn publish(sender: &watch::Sender<Option<Presented>>, known: Option<Presented>) {
    sender.send_if_modified(|before| {
        let differs = *before != known;
        *before = known;
        differs
    });
}

/// Asks all Pods once.
async fn round(question: &Question) -> Vec<(String, Answer)> {
    let Some(service) = &question.service else { return Vec::new() };
    let of_pod = |(name, address): (&String, &SocketAddr)| {
        let (name, address, balanced) = (name.clone(), *address, question.proxy_protocol);
        async move { (name, presented(address, service, balanced, PATIENCE).await.map(Arc::from)) }
    };
    stream::iter(question.pods.iter().map(of_pod)).buffer_unordered(AT_ONCE).collect().await
}
