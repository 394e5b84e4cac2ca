//! Clients whose server names and certificates contain markup, escapes, control characters and bytes
//! that are no text, at a real gateway. The view of refusals shows each of them, as text.

use crate::site::{origin, picture};
use anyhow::{Context, Result, ensure};
use fedgate_e2e::browser::Browser;
use fedgate_e2e::client::Client;
use fedgate_e2e::cluster::Cluster;
use fedgate_e2e::envoy::access_log::AccessLog;
use fedgate_e2e::federation::Federation;
use fedgate_e2e::manifest::Service;
use fedgate_e2e::run_folder::RunFolder;
use fedgate_e2e::scenario::scenario;
use fedgate_e2e::wait::{self, SOON};
use serde_json::json;
use std::ffi::OsStr;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::{Command, Stdio};

const SCRIPT: &str = "<script>window.hit=1</script><img src=x onerror=window.hit=1>";

/// What a client can send as its server name: any bytes but NUL, up to 255.
const SERVER_NAMES: [&[u8]; 6] = [
    b"<script>window.hit=1</script><img src=x onerror=window.hit=1>",
    b"\"},\"outcome\":\"allowed\",\"reason\":\"granted\"}\n{\"outcome\":\"refused\",\"reason\":\"forged\"}",
    b"back\\slash \\u0000 \\n end\\",
    b"\x1b[2J\x1b]0;title\x07\x08\x7f\r\ntab\t",
    "gpj\u{202e}exe.\u{2066}\u{5e9}\u{5dc}\u{5d5}\u{5dd}\u{200b}".as_bytes(),
    b"no text: \xff\xfe\xc3\x28 <b>bold</b>",
];

/// Offers a server name as it is. No library of Rust would.
fn offer(gateway: SocketAddr, server_name: &[u8]) -> Result<()> {
    let mut client = Command::new("openssl");
    client.args(["s_client", "-connect", &gateway.to_string(), "-servername"]);
    client.arg(OsStr::from_bytes(server_name));
    client.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let status = client.status().context("openssl does not start")?;
    ensure!(!status.success(), "the gateway accepts {server_name:?}");
    Ok(())
}

fn lines(log: &Path) -> usize {
    let log = std::fs::read(log).unwrap_or_default();
    log.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).count()
}

/// Waits until the log has this many lines.
async fn wait_lines(log: &Path, count: usize) -> Result<()> {
    let has = async || {
        ensure!(lines(log) >= count, "it has {}", lines(log));
        Ok(Some(()))
    };
    wait::until(&format!("{count} lines in the access log"), SOON, has).await
}

/// A line as the gateway writes it, with a text in every field.
fn line(reason: &str, text: &str) -> Vec<u8> {
    let line = json!({ "time": "2026-01-01T00:00:00Z", "outcome": "refused", "reason": reason, "peer": text,
        "service": text, "sni": text, "client_uri_san": text, "client": text });
    format!("{line}\n").into_bytes()
}

fn append(log: &Path, bytes: &[u8]) -> Result<()> {
    Ok(std::fs::OpenOptions::new().append(true).create(true).open(log)?.write_all(bytes)?)
}

/// No script has run, and there is no element that a text has made.
async fn is_harmless(browser: &mut Browser) -> Result<()> {
    let bad = browser.evaluate("JSON.stringify([typeof hit, document.querySelectorAll('main script, main img, main b b').length, document.documentElement.scrollWidth > innerWidth])").await?;
    ensure!(bad == r#"["undefined",0,false]"#, "{bad}");
    Ok(())
}

/// How many of the latest refusals have this reason.
fn latest(reason: &str) -> String {
    format!(
        "[...document.querySelectorAll('main section:last-of-type tr')].filter(row => row.cells[1]?.innerText === '{reason}').length"
    )
}

async fn start(run: &RunFolder) -> Result<Federation<2>> {
    let mut federation = Federation::new(run, ["beta", "gamma"])?;
    let beta = &mut federation.clusters[0];
    let log = beta.folder().join("access.log");
    beta.settings().gateway_access_log = Some(log);
    beta.write_settings()?;
    let target = SocketAddr::from((Ipv4Addr::LOCALHOST, 8080));
    beta.put_service(&Service::new("web", "http", 80, target).exported())?;
    federation.start().await?;
    Ok(federation)
}

/// A certificate of gamma's own CA, with a hostile name of its trust domain. It is shown until it is
/// refused for that: before the gateway has gamma's roots, it is refused for another reason.
async fn show_certificate(beta: &Cluster, gamma: &Cluster, log: &Path) -> Result<()> {
    let name = format!("spiffe://gamma.example/ns/\"\\\x1b[2J{SCRIPT}/sa/x");
    let client = Client::new(Some(&gamma.authority().workload(&name)?))?;
    let sni = "outbound_.80_._.web.shop.svc.beta.example";
    let shown = async || {
        let answer = client.get(beta.gateway_address(), sni, "web").await;
        ensure!(answer.is_err(), "the gateway accepts {name}: {answer:?}");
        Ok(())
    };
    AccessLog::from_now(log).call_until("bad_identity", shown).await.map(drop)
}

#[test]
fn hostile_clients_are_shown_as_text() {
    scenario("page-hostile-clients", async |run: &RunFolder| {
        let federation = start(run).await?;
        let [beta, gamma] = &federation.clusters;
        let log = beta.folder().join("access.log");
        let origin = origin(beta).await?;
        let mut browser = Browser::start(run).await?;
        browser.open(&format!("{origin}/#/refusals")).await?;
        browser
            .wait("the view", "document.querySelector('main').innerText.includes('Latest')")
            .await?;

        let before = lines(&log);
        for server_name in SERVER_NAMES {
            offer(beta.gateway_address(), server_name)?;
        }
        wait_lines(&log, before + SERVER_NAMES.len()).await?;
        browser
            .wait("each server name", &format!("{} === {}", latest("bad_sni"), SERVER_NAMES.len()))
            .await?;
        show_certificate(beta, gamma, &log).await?;
        browser.wait("the certificate", &format!("{} > 0", latest("bad_identity"))).await?;
        is_harmless(&mut browser).await?;
        let text = browser.text().await?;
        ensure!(text.contains("onerror=window.hit=1"), "markup is text: {text}");
        let forged = browser.evaluate(&latest("forged")).await?;
        ensure!(forged == 0, "a server name makes no line: {text}");
        let hidden =
            |letter: char| letter == '\u{202e}' || letter == '\u{200b}' || letter == '\u{1b}';
        ensure!(!text.contains(hidden), "what cannot be seen is spelled out: {text:?}");
        picture(&mut browser, "hostile-clients").await?;

        // The row under the focus stays the same when a new one comes first.
        browser.evaluate("window.mine = document.querySelector('main section:last-of-type a'); window.mine.focus(); window.was = window.mine.href; 0").await?;
        append(&log, &line("not_granted", &format!("{SCRIPT}\u{202e}\u{0}")))?;
        browser.wait("the next refusal", &format!("{} === 1", latest("not_granted"))).await?;
        let stays = "document.activeElement === window.mine && window.mine.href === window.was";
        ensure!(browser.evaluate(stays).await? == true, "the focus is on another row");
        is_harmless(&mut browser).await?;

        // Long lines of which the page reads the last few, lines that are no text or cut, and a log that
        // is emptied or taken away.
        let long = "x<b>".repeat(2 << 10);
        for _ in 0..8 {
            append(&log, &line("unknown_peer", &long))?;
        }
        append(&log, b"\xff\xfe\n{\"outcome\":\"refused\",\"reason\":\"cut")?;
        append(
            &log,
            b"\n{\"outcome\":\"refused\",\"reason\":\"no_identity\",\"peer\":\"\xff\xc3<b>\"}\n",
        )?;
        append(&log, br#"{"outcome":"refused","reason":7,"peer":{"a":[]}}"#)?;
        browser.wait("bytes that are no text", &format!("{} === 1", latest("no_identity"))).await?;
        ensure!(
            browser.evaluate(&format!("{} > 0", latest("unknown_peer"))).await? == true,
            "no long line"
        );
        is_harmless(&mut browser).await?;
        std::fs::File::options().write(true).open(&log)?.set_len(0)?;
        browser
            .wait(
                "an empty log",
                "document.querySelector('main').innerText.includes('no refused connection')",
            )
            .await?;
        offer(beta.gateway_address(), SERVER_NAMES[0])?;
        browser.wait("a refusal after that", &format!("{} === 1", latest("bad_sni"))).await?;
        std::fs::rename(&log, log.with_extension("old"))?;
        browser
            .wait(
                "no log",
                "document.querySelector('main').innerText.includes('cannot read the access log')",
            )
            .await?;
        append(&log, &line("unknown_peer", "a"))?;
        browser.wait("the next log", &format!("{} === 1", latest("unknown_peer"))).await?;
        browser.check(&origin).await
    });
}
