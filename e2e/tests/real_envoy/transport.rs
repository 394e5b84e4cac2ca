//! What `docs/reference.md` says about the gateway's port below the decision: key exchange groups,
//! the PROXY protocol.

use crate::fixture::Gateway;
use anyhow::{Result, ensure};
use fedgate_e2e::authority::Leaf;
use fedgate_e2e::client::Client;
use fedgate_e2e::programs;
use fedgate_e2e::run_folder::RunFolder;
use fedgate_e2e::scenario::scenario;
use rcgen::ExtendedKeyUsagePurpose::{ClientAuth, ServerAuth};
use rcgen::KeyUsagePurpose::{CrlSign, DigitalSignature, KeyCertSign, KeyEncipherment};
use rustls::NamedGroup;
use rustls::crypto::aws_lc_rs::kx_group::{SECP256R1, SECP384R1, X25519, X25519MLKEM768};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const SNI: &str = "outbound_.80_._.web.shop.svc.beta.example";

#[test]
fn the_documented_key_exchange_groups_are_accepted() {
    scenario("groups", async |run: &RunFolder| {
        let gateway = Gateway::start(run).await?;
        let identity = gateway.alpha().workload()?;
        let address = gateway.beta().gateway_address();
        // Envoy 1.39 and earlier do not offer X25519MLKEM768.
        let hybrid = programs::envoy_release()? >= (1, 40);
        for (group, taken) in
            [(X25519, true), (SECP256R1, true), (SECP384R1, false), (X25519MLKEM768, hybrid)]
        {
            let client = Client::with_group(Some(&identity), group)?;
            let answer = client.get(address, SNI, "web").await;
            let group: NamedGroup = group.name();
            ensure!(answer.is_ok() == taken, "{group:?}: {answer:?}");
        }
        Ok(())
    });
}

#[test]
fn a_callers_certificate_may_have_these_usages() {
    scenario("usages", async |run: &RunFolder| {
        let gateway = Gateway::start(run).await?;
        let address = gateway.beta().gateway_address();
        let mut wrong = Vec::new();
        for (usages, extended, taken) in [
            (&[DigitalSignature][..], &[ClientAuth, ServerAuth][..], true),
            (&[DigitalSignature], &[ClientAuth], true),
            (&[DigitalSignature], &[], true),
            (&[DigitalSignature, KeyEncipherment], &[], true),
            // A server-only certificate is accepted as well: Envoy does not check this.
            (&[DigitalSignature], &[ServerAuth], true),
            (&[], &[], false),
            (&[KeyEncipherment], &[], false),
            (&[DigitalSignature, KeyCertSign], &[], false),
            (&[DigitalSignature, CrlSign], &[], false),
        ] {
            let leaf =
                Leaf::new().uri(&gateway.alpha().spiffe_id("client"))?.usages(usages, extended);
            let client = Client::new(Some(&gateway.alpha().authority().sign(&leaf)?))?;
            let answer = client.get(address, SNI, "web").await;
            if answer.is_ok() != taken {
                wrong.push(format!("{usages:?} {extended:?}: {answer:?}"));
            }
        }
        ensure!(wrong.is_empty(), "{wrong:#?}");
        Ok(())
    });
}

/// Returns true if the gateway answers after this PROXY protocol header.
async fn answered_after(header: &[u8], gateway: &Gateway) -> Result<bool> {
    let mut stream = TcpStream::connect(gateway.beta().gateway_address()).await?;
    stream.write_all(header).await?;
    Ok(stream.read(&mut [0; 1]).await.is_ok_and(|bytes| bytes > 0))
}

#[test]
fn the_proxy_protocol_is_refused() {
    scenario("proxy", async |run: &RunFolder| {
        let gateway = Gateway::start(run).await?;
        let two = [
            &b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c"[..],
            &[127, 0, 0, 1, 127, 0, 0, 1, 4, 0, 5, 0],
        ]
        .concat();
        for header in [&b"PROXY TCP4 127.0.0.1 127.0.0.1 1024 1280\r\n"[..], &two] {
            let log = gateway.beta().access_log()?;
            ensure!(!answered_after(header, &gateway).await?, "{header:?} was answered");
            log.wait_for_reason("no_sni").await?;
        }
        Ok(())
    });
}
