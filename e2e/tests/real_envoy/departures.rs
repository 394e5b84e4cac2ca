//! Clients that leave in the middle of a handshake leave nothing behind. Envoy's tcp_proxy once
//! leaked upstream connections here: if it may read before the upstream is connected, and the
//! client closed without sending data, nobody closed the upstream (envoyproxy/envoy#42006).

use crate::fixture::Gateway;
use anyhow::{Context, Result, ensure};
use fedgate_e2e::client::{Client, PATIENCE, send_line};
use fedgate_e2e::cluster::Cluster;
use fedgate_e2e::deployed::Deployed;
use fedgate_e2e::manifest::Service;
use fedgate_e2e::run_folder::RunFolder;
use fedgate_e2e::scenario::scenario;
use fedgate_e2e::{usage, wait};
use rustls::ClientConnection;
use socket2::SockRef;
use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;
use tokio::task::JoinSet;

/// How far a client gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    /// It has sent its ClientHello.
    Hello,
    /// It has received the server's part of the handshake, and has not answered.
    ServerFlight,
    /// It has finished the handshake.
    Finished,
    /// It has sent data as well.
    Data,
}

/// How a client leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    /// It closes the connection: FIN.
    Close,
    /// It resets the connection: RST.
    Reset,
}

const STAGES: [Stage; 4] = [Stage::Hello, Stage::ServerFlight, Stage::Finished, Stage::Data];
const ENDINGS: [Ending; 2] = [Ending::Close, Ending::Reset];
/// Clients of each kind: by stage, ending and service, 208 in all.
const CLIENTS_OF_A_KIND: usize = 13;
/// How long it may take until nothing is left of them.
const SOON: Duration = Duration::from_secs(15);

/// A gateway with two services: `web`, where the client speaks first, and `mail`, where the server
/// does.
struct Rig {
    gateway: Gateway,
    mail: Deployed,
}

impl Rig {
    async fn start(run: &RunFolder) -> Result<Self> {
        let gateway = Gateway::start(run).await?;
        let mut mail = Deployed::greeting(gateway.beta(), "mail").await?;
        mail.apply(gateway.beta(), Service::exported)?;
        mail.wait_greeting(&gateway.alpha_client, gateway.beta()).await?;
        let rig = Self { gateway, mail };
        // The greeting came through one worker; the other may still have the table before.
        let envoy = rig.beta().gateway()?;
        let all = async || Ok(envoy.table_threads().await? == (3, 2));
        wait::until_true("all threads to have the table", SOON, all).await?;
        rig.wait_open(Open::default()).await?;
        Ok(rig)
    }

    fn beta(&self) -> &Cluster {
        self.gateway.beta()
    }

    /// The connections that are open now.
    async fn open(&self) -> Result<Open> {
        let envoy = self.beta().gateway()?;
        let backends = [&self.gateway.web, &self.mail].map(|service| service.backend.address());
        Ok(Open {
            downstream: envoy.stat("listener.federation.downstream_cx_active").await?
                + envoy.stat("listener.federation.downstream_pre_cx_active").await?,
            upstream: self.upstream("upstream_cx_active").await?,
            backends: backends.map(usage::open_connections).into_iter().sum::<Result<usize>>()?,
        })
    }

    /// The sum of a counter or gauge over all clusters.
    async fn upstream(&self, name: &str) -> Result<u64> {
        let filter = format!("/stats?filter=^cluster\\..*\\.{name}$");
        let text = self.beta().gateway()?.ask(&filter).await?;
        let values = text.lines().filter_map(|line| line.rsplit_once(": ")?.1.parse::<u64>().ok());
        Ok(values.sum())
    }

    async fn wait_open(&self, expected: Open) -> Result<()> {
        let what = format!("open connections: {expected:?}");
        let matches = async || {
            let open = self.open().await?;
            ensure!(open == expected, "{open:?}");
            Ok(Some(()))
        };
        wait::until(&what, SOON, matches).await
    }

    /// Sends the clients, all at once. Returns how many.
    async fn send_clients(&self) -> Result<u64> {
        let (client, gateway) = (&self.gateway.alpha_client, self.beta().gateway_address());
        let mut clients = JoinSet::new();
        for service in [&self.gateway.web, &self.mail] {
            for (stage, ending) in STAGES.iter().flat_map(|&stage| ENDINGS.map(|end| (stage, end)))
            {
                for _ in 0..CLIENTS_OF_A_KIND {
                    let session = client.session(&service.sni())?;
                    clients.spawn_blocking(move || leave(gateway, session, stage, ending));
                }
            }
        }
        let count = clients.len() as u64;
        while let Some(client) = clients.join_next().await {
            client?.context("a client could not get as far as it should")?;
        }
        Ok(count)
    }
}

/// Open connections, as the gateway and the kernel count them.
#[derive(Debug, Default, PartialEq, Eq)]
struct Open {
    downstream: u64,
    upstream: u64,
    backends: usize,
}

/// Connects, gets as far as `stage`, and leaves.
fn leave(
    gateway: SocketAddr,
    mut session: ClientConnection,
    stage: Stage,
    ending: Ending,
) -> Result<()> {
    let mut stream = TcpStream::connect(gateway)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    send_all(&mut session, &mut stream)?;
    if stage > Stage::Hello {
        while session.is_handshaking() {
            ensure!(session.read_tls(&mut stream)? > 0, "{stage:?}: closed in the handshake");
            session.process_new_packets()?;
        }
    }
    if stage == Stage::Data {
        session.writer().write_all(b"GET / HTTP/1.1\r\nHost: web\r\n\r\n")?;
    }
    if stage >= Stage::Finished {
        send_all(&mut session, &mut stream)?;
    }
    if ending == Ending::Reset {
        SockRef::from(&stream).set_linger(Some(Duration::ZERO))?;
    }
    Ok(())
}

fn send_all(session: &mut ClientConnection, stream: &mut TcpStream) -> Result<()> {
    while session.wants_write() {
        session.write_tls(stream)?;
    }
    Ok(())
}

#[test]
fn clients_that_leave_in_the_handshake_leave_no_connection_behind() {
    scenario("departures", async |run: &RunFolder| {
        let rig = Rig::start(run).await?;
        let total =
            async || rig.beta().gateway()?.stat("listener.federation.downstream_cx_total").await;
        let (accepted, forwarded) = (total().await?, rig.upstream("upstream_cx_total").await?);
        let clients = rig.send_clients().await?;
        // Of a client that resets at once, Envoy may not read the ClientHello, and counts nothing.
        wait::until_true("the gateway to accept the clients that close", SOON, async || {
            Ok(total().await? >= accepted + clients / 2)
        })
        .await?;
        rig.wait_open(Open::default()).await?;
        ensure!(
            rig.upstream("upstream_cx_total").await? > forwarded,
            "no client got as far as a back end, so this test shows nothing"
        );
        rig.gateway.web.call(&rig.gateway.alpha_client, rig.beta()).await?;
        drop(rig.mail.wait_greeting(&rig.gateway.alpha_client, rig.beta()).await?);
        rig.wait_open(Open::default()).await
    });
}

/// The twin: connections of clients that stay are counted. A client that has not finished its
/// handshake has no upstream connection.
#[test]
fn clients_that_stay_are_counted() {
    scenario("no-departure", async |run: &RunFolder| {
        let rig = Rig::start(run).await?;
        let client: &Client = &rig.gateway.alpha_client;
        let mut stays = rig.mail.wait_greeting(client, rig.beta()).await?;
        rig.wait_open(Open { downstream: 1, upstream: 1, backends: 1 }).await?;

        let mut session = client.session(&rig.gateway.web.sni())?;
        let mut stream = TcpStream::connect(rig.beta().gateway_address())?;
        send_all(&mut session, &mut stream)?;
        rig.wait_open(Open { downstream: 2, upstream: 1, backends: 1 }).await?;
        ensure!(send_line(&mut stays, "NOOP").await? == "250 NOOP", "the open connection was cut");

        drop((stays, stream));
        rig.wait_open(Open::default()).await
    });
}
