//! What an operator sees in a terminal of real calls: `fedgate top` and `fedgate status --wait`.

use crate::failover::{Names, WEB, call, wait_answered_by};
use crate::fixture::Pair;
use anyhow::{Context, Result, ensure};
use fedgate_e2e::client::Client;
use fedgate_e2e::cluster::Cluster;
use fedgate_e2e::programs;
use fedgate_e2e::run_folder::RunFolder;
use fedgate_e2e::scenario::scenario;
use fedgate_e2e::wait::{self, SOON};
use serde_json::Value;
use std::net::SocketAddr;
use std::process::Command;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use xtask::pty::Pty;

async fn top(cluster: &Cluster) -> Result<Value> {
    let output = cluster.fedgate(&["top", "--once", "--output", "json"]).await?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(serde_json::from_slice(&output.stdout)?)
}

fn row<'a>(rows: &'a Value, field: &str, value: &str) -> Option<&'a Value> {
    rows.as_array()?.iter().find(|row| row[field] == value)
}

fn number(rows: &Value, (field, value): (&str, &str), column: &str) -> u64 {
    row(rows, field, value).and_then(|row| row[column].as_u64()).unwrap_or(0)
}

/// Reads the greeting, says something, and reads the echo. Returns the bytes each way.
async fn talk(egress: SocketAddr) -> Result<(u64, u64)> {
    let mut stream = TcpStream::connect(egress).await?;
    let mut received = Vec::new();
    while !received.ends_with(b"\n") {
        ensure!(stream.read_buf(&mut received).await? > 0, "it ended early");
    }
    let greeting = received.len();
    stream.write_all(b"hello\r\n").await?;
    while received.len() == greeting || !received.ends_with(b"\n") {
        ensure!(stream.read_buf(&mut received).await? > 0, "it ended early");
    }
    Ok((7, received.len().try_into()?))
}

#[test]
fn top_counts_calls_refusals_and_bytes() {
    scenario("top", async |run: &RunFolder| {
        let pair = Pair::start(run, |_, _| Ok(())).await?;
        let [alpha, beta] = &pair.federation.clusters;
        let (web, mail) = (pair.web.name(), pair.mail.name());
        let before = [top(alpha).await?, top(beta).await?];
        for _ in 0..5 {
            pair.web.call_from(alpha).await?;
        }
        let egress = alpha.wait_import(&mail).await?;
        let (mut sent, mut received) = (0, 0);
        for _ in 0..3 {
            let (to, from) = talk(egress).await?;
            (sent, received) = (sent + to, received + from);
        }

        let more = async |at: usize, list: &str, key: (&str, &str), column: &str| {
            let now = top([alpha, beta][at]).await?;
            let (old, new) = (&before[at][list], &now[list]);
            anyhow::Ok(number(new, key, column) - number(old, key, column))
        };
        let (web, mail) = (("service", web.as_str()), ("service", mail.as_str()));
        ensure!(more(1, "exports", web, "connections").await? == 5);
        ensure!(more(1, "exports", mail, "connections").await? == 3);
        ensure!(more(1, "exports", mail, "toService").await? == sent, "{sent}");
        ensure!(more(1, "exports", mail, "fromService").await? == received, "{received}");
        ensure!(more(0, "imports", web, "connections").await? == 5);
        ensure!(more(0, "imports", mail, "toService").await? == sent);
        ensure!(more(0, "imports", mail, "fromService").await? == received);
        // The controllers' probes are calls of the peer, too.
        ensure!(more(1, "peers", ("name", "alpha"), "allowed").await? >= 8);
        ensure!(more(0, "peers", ("name", "beta"), "calls").await? == 8);
        ensure!(more(1, "refusals", ("reason", "not_granted"), "connections").await? == 0);

        // A refused call is counted as one, and reaches no service.
        let policy = r#"{"peers": ["alpha"], "services": [{"namespaces": ["none"]}]}"#;
        beta.put_policy("none", policy)?;
        let client = Client::new(Some(&alpha.workload()?))?;
        pair.web.wait_refused(&client, beta).await?;
        let refused = top(beta).await?;
        pair.web.refuses(&client, beta).await?;
        let count = async || {
            let now = top(beta).await?;
            let of = |report: &Value| {
                (
                    number(&report["refusals"], ("reason", "not_granted"), "connections"),
                    number(&report["peers"], ("name", "alpha"), "refused"),
                    number(&report["exports"], web, "connections"),
                )
            };
            let (before, now) = (of(&refused), of(&now));
            Ok((now == (before.0 + 1, before.1 + 1, before.2)).then_some(()))
        };
        wait::until("the refusal to be counted once", SOON, count).await
    });
}

#[test]
fn top_counts_calls_to_names_of_several_clusters() {
    scenario("top-names", async |run: &RunFolder| {
        let names =
            Names::start(run, "[{peers: [beta]}, {peers: [gamma]}]", async |_| Ok(())).await?;
        let egress = names.alpha().wait_name(WEB).await?;
        wait_answered_by(egress, &names.beta_web).await?;
        let before = top(names.alpha()).await?;
        for _ in 0..5 {
            call(egress).await?;
        }
        let now = top(names.alpha()).await?;
        let more = |list: &str, key: (&str, &str), column: &str| {
            number(&now[list], key, column) - number(&before[list], key, column)
        };
        ensure!(more("federatedServices", ("service", WEB), "connections") == 5, "{now:#}");
        ensure!(more("federatedServices", ("service", WEB), "fromService") > 0, "{now:#}");
        ensure!(more("peers", ("name", "beta"), "calls") == 5, "{now:#}");
        ensure!(more("peers", ("name", "gamma"), "calls") == 0, "{now:#}");
        // Nothing but imports has a row there, such as each worker's share of a listener.
        let of_imports = |row: &Value| row["peer"].is_string();
        ensure!(
            now["imports"].as_array().is_some_and(|rows| rows.iter().all(of_imports)),
            "{now:#}"
        );
        Ok(())
    });
}

#[test]
fn top_is_live_on_a_terminal_and_says_which_envoy_is_missing() {
    scenario("top-live", async |run: &RunFolder| {
        let mut pair = Pair::start(run, |_, _| Ok(())).await?;
        let alpha = pair.alpha();
        let mut command = Command::new(programs::fedgate()?);
        command.args(["top", "--dir"]).arg(alpha.folder()).env_remove("NO_COLOR");
        let mut terminal = Pty::start(&command, (80, 60), "$ fedgate top\r\n")?;
        let import = pair.web.name();
        terminal.wait_for("the import", |terminal| terminal.shown().contains(&import))?;
        let widest = terminal.shown().lines().map(|line| line.chars().count()).max();
        ensure!(widest <= Some(80), "{}", terminal.shown());
        // Calls between two looks are a rate.
        let mut live = false;
        for _ in 0..20 {
            for _ in 0..20 {
                pair.web.call_from(alpha).await?;
            }
            live = terminal.wait_for("a look", |terminal| terminal.shown().contains("/s)")).is_ok();
            if live {
                break;
            }
        }
        ensure!(live, "{}", terminal.shown());
        terminal.type_keys("\x03")?;
        ensure!(terminal.wait()?.success() && terminal.is_as_usual());
        ensure!(terminal.shown().starts_with("$ fedgate top\n"), "{}", terminal.shown());

        // One Envoy less is told, and the rest is shown; without any there is nothing to show.
        let [alpha, _] = &mut pair.federation.clusters;
        alpha.stop_egress();
        let output = alpha.fedgate(&["top", "--once"]).await?;
        let text = String::from_utf8(output.stdout)?;
        ensure!(output.status.code() == Some(1) && text.contains("egress: "), "{text}");
        ensure!(text.contains("(peers' probes)"), "{text}");
        alpha.stop_gateway();
        let output = alpha.fedgate(&["top", "--once"]).await?;
        let error = String::from_utf8(output.stderr)?;
        ensure!(
            output.status.code() == Some(1) && error.contains("no Envoy can be asked"),
            "{error}"
        );
        Ok(())
    });
}

#[test]
fn wait_ends_with_0_when_the_peers_are_ready() {
    scenario("status-wait", async |run: &RunFolder| {
        let mut pair = Pair::with_controllers(run, |_, _| Ok(())).await?;
        let start = |more: &[&str]| {
            let mut command = tokio::process::Command::new(programs::fedgate()?);
            command.args(["status", "--wait", "--timeout", "60s", "--dir"]);
            command.arg(pair.alpha().folder()).args(more).kill_on_drop(true);
            command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
            anyhow::Ok(command.spawn()?)
        };
        let (all, named) = (start(&[])?, start(&["beta"])?);
        // It is not ready yet.
        let early = pair.alpha().fedgate(&["status", "--wait", "--timeout", "1s", "beta"]).await?;
        ensure!(early.status.code() == Some(1), "{early:?}");
        for cluster in &mut pair.federation.clusters {
            cluster.start_envoys().await?;
        }
        for waiting in [all, named] {
            let output = waiting.wait_with_output().await.context("it ends")?;
            let text = String::from_utf8(output.stdout)?;
            ensure!(output.status.success() && text == "  beta  ready\n", "{text}");
            ensure!(output.stderr.is_empty(), "a pipe gets no progress");
        }
        Ok(())
    });
}

/// A bundle of two real Envoys has their state and none of their keys.
#[test]
fn a_support_bundle_has_the_envoys_state_and_no_key() {
    scenario("support-bundle", async |run: &RunFolder| {
        let pair = Pair::start(run, |_, _| Ok(())).await?;
        let [alpha, beta] = &pair.federation.clusters;
        // A counter is there once it has counted: beta's probe is a call that alpha's gateway allows.
        let reached = ["True", "Succeeded"];
        beta.wait_condition("alpha", "DataplaneConnectionReady", reached).await?;
        let file = run.path().join("bundle.tar.gz");
        let out = file.display().to_string();
        // The filter may decide, and count, a moment after the probe's handshake.
        let text = wait::until("a bundle with the Envoys' state", SOON, async || {
            let output = alpha.fedgate(&["support-bundle", "--out", &out]).await?;
            ensure!(output.status.success() && output.stderr.is_empty(), "{output:?}");
            let unpacked = Command::new("tar").args(["-xzOf", &out]).output()?;
            let text = String::from_utf8(unpacked.stdout)?;
            for expected in [
                "wasmcustom.fedgate.connections.outcome.allowed.reason.granted",
                "type.googleapis.com/envoy.admin.v3.ListenersConfigDump",
                "\"state\": \"LIVE\"",
                "days_until_expiration",
            ] {
                ensure!(text.contains(expected), "{expected}");
            }
            Ok(Some(text))
        })
        .await?;
        let mut secrets = 0;
        for file in fedgate_e2e::run_folder::files_below(alpha.folder())? {
            if file.extension().is_none_or(|extension| extension != "key") {
                continue;
            }
            let key = std::fs::read_to_string(&file)?;
            for line in key.lines().filter(|line| !line.starts_with('-')) {
                secrets += 1;
                ensure!(!text.contains(line), "{}", file.display());
            }
        }
        ensure!(secrets > 3, "there are keys to look for");
        Ok(())
    });
}
