//! Commands on a terminal, and in a pipe: what a person sees, and what a script reads.

use crate::cluster::{Cluster, fedgate};
use crate::running::pair;
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use unicode_width::UnicodeWidthStr;
use xtask::pty::Pty;

const BEFORE: &str = "$ fedgate status --watch\r\n";

fn command(cluster: &Cluster, arguments: &[&str]) -> Command {
    let mut command = fedgate();
    let (name, rest) = arguments.split_first().unwrap();
    command.arg(name).arg("--dir").arg(cluster.folder()).args(rest);
    command.env_remove("NO_COLOR").env("TERM", "xterm-256color");
    command
}

fn shows(text: &str) -> impl Fn(&Pty) -> bool {
    move |terminal| terminal.shown().contains(text)
}

#[test]
fn watch_draws_changes_and_leaves_the_terminal_as_it_was() {
    let mut alpha = Cluster::new("alpha");
    alpha.start();
    let watch = command(&alpha, &["status", "--watch"]);
    let mut terminal = Pty::start(&watch, (80, 40), BEFORE).unwrap();
    terminal.wait_for("the status", shows("exports (0)")).unwrap();
    assert!(!terminal.is_as_usual() && !terminal.shown().contains("$ fedgate"));
    alpha.put_service("web");
    terminal.wait_for("the export", shows("web.shop.svc.alpha.example:80")).unwrap();
    assert!(terminal.shown().contains("exports (1)"), "{}", terminal.shown());

    // A smaller terminal gets what fits, with a note; nothing scrolls.
    terminal.resize((40, 6)).unwrap();
    terminal.wait_for("the cut", shows("more lines")).unwrap();
    assert_eq!(terminal.shown().lines().count(), 6, "{}", terminal.shown());

    // A controller that is gone is said to be, above what is known.
    alpha.stop();
    terminal.resize((100, 40)).unwrap();
    terminal.wait_for("the problem", shows("NO ANSWER")).unwrap();
    terminal.wait_for("what was known", shows("exports (1)")).unwrap();
    alpha.start();
    terminal.wait_for("the answer", |terminal| !shows("NO ANSWER")(terminal)).unwrap();

    terminal.type_keys("\x03").unwrap();
    let ended = terminal.wait().unwrap();
    assert!(ended.success(), "{ended}\n{}", terminal.shown());
    assert!(terminal.is_as_usual());
    let shown = terminal.shown();
    assert!(shown.starts_with("$ fedgate status --watch\n"), "{shown}");
    assert!(!shown.contains("exports"), "{shown}");
}

#[test]
fn watch_leaves_the_terminal_as_it_was_after_a_signal() {
    let mut alpha = Cluster::new("alpha");
    alpha.start();
    for signal in ["TERM", "HUP"] {
        let watch = command(&alpha, &["status", "--watch"]);
        let mut terminal = Pty::start(&watch, (80, 24), BEFORE).unwrap();
        terminal.wait_for("the status", shows("exports (0)")).unwrap();
        let mut kill = Command::new("kill");
        kill.args([&format!("-{signal}"), &terminal.id().to_string()]);
        assert!(kill.status().unwrap().success());
        assert!(terminal.wait().unwrap().success());
        assert!(terminal.is_as_usual(), "{signal}");
    }
}

#[test]
fn a_suspended_watch_gives_the_terminal_back_and_draws_again() {
    let mut alpha = Cluster::new("alpha");
    alpha.start();
    let watch = command(&alpha, &["status", "--watch"]);
    // Only a shell with job control stops and continues its jobs.
    let mut shell = Command::new("bash");
    shell.args(["--norc", "--noprofile", "-i"]).env("PS1", "ready$ ").env("TERM", "xterm-256color");
    let mut terminal = Pty::start(&shell, (100, 40), "").unwrap();
    terminal.wait_for("the prompt", shows("ready$")).unwrap();
    terminal.type_keys(&format!("{}\n", line(&watch))).unwrap();
    terminal.wait_for("the status", |it| shows("exports (0)")(it) && !it.is_as_usual()).unwrap();

    terminal.type_keys("\x1a").unwrap();
    let is_back = |it: &Pty| it.is_as_usual() && shows("Stopped")(it) && !shows("exports")(it);
    terminal.wait_for("the shell", is_back).unwrap();
    alpha.put_service("web");
    terminal.type_keys("fg\n").unwrap();
    let is_drawn = |it: &Pty| !it.is_as_usual() && shows("exports (1)")(it) && !shows("ready$")(it);
    terminal.wait_for("the status of now", is_drawn).unwrap();

    // In the background it leaves the terminal alone.
    terminal.type_keys("\x1a").unwrap();
    terminal.wait_for("the shell again", is_back).unwrap();
    terminal.type_keys("bg\n").unwrap();
    alpha.put_service("stock");
    alpha.wait("both exports", |status| status["exports"].get(1).map(drop));
    terminal.type_keys("echo still $((40 + 2))\n").unwrap();
    terminal
        .wait_for("the shell's output", |it| shows("still 42")(it) && it.is_as_usual())
        .unwrap();
    terminal.type_keys("fg\n").unwrap();
    let is_drawn = |it: &Pty| !it.is_as_usual() && shows("exports (2)")(it);
    terminal.wait_for("both exports on the screen", is_drawn).unwrap();

    terminal.type_keys("\x03").unwrap();
    terminal.wait_for("the end", |it| it.is_as_usual()).unwrap();
    terminal.type_keys("exit 0\n").unwrap();
    assert!(terminal.wait().unwrap().success(), "{}", terminal.shown());
}

/// A command as one types it.
fn line(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let quoted = words.map(|word| format!("'{}'", word.to_str().unwrap()));
    quoted.collect::<Vec<_>>().join(" ")
}

#[test]
fn without_a_shell_that_could_continue_it_a_watch_goes_on() {
    let mut alpha = Cluster::new("alpha");
    alpha.start();
    let watch = command(&alpha, &["status", "--watch"]);
    let mut terminal = Pty::start(&watch, (80, 24), BEFORE).unwrap();
    terminal.wait_for("the status", shows("exports (0)")).unwrap();
    terminal.type_keys("\x1a").unwrap();
    alpha.put_service("web");
    terminal.wait_for("the export", shows("exports (1)")).unwrap();
    terminal.type_keys("\x03").unwrap();
    assert!(terminal.wait().unwrap().success());
    assert!(terminal.is_as_usual());
}

/// A command in a pipe, whose lines are read one after the other.
struct Piped {
    child: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Piped {
    fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    /// The next line that has this text; fails at the end of the output.
    fn line_with(&mut self, text: &str) -> String {
        loop {
            let line = self.lines.next().expect("more output").unwrap();
            if line.contains(text) {
                return line;
            }
        }
    }
}

impl Drop for Piped {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn watch_in_a_pipe_prints_each_change() {
    let mut alpha = Cluster::new("alpha");
    alpha.start();
    let mut text = Piped::start(command(&alpha, &["status", "--watch"]));
    let mut json = Piped::start(command(&alpha, &["status", "--watch", "--output", "json"]));
    text.line_with("findings (");
    let first: Value = serde_json::from_str(&json.line_with("{")).unwrap();
    assert_eq!(first["exports"], serde_json::json!([]));

    alpha.put_service("web");
    let line = text.line_with("exports  web");
    let (time, rest) = line.split_once("  ").unwrap();
    assert!(time.parse::<jiff::Timestamp>().is_ok(), "{line}");
    assert_eq!(rest, "exports  web.shop.svc.alpha.example:80  granted to nobody");
    assert!(line.is_ascii(), "a pipe gets no colours");
    let next: Value = serde_json::from_str(&json.line_with("web.shop")).unwrap();
    assert_eq!(next["exports"][0]["service"], "web.shop.svc.alpha.example:80");

    std::fs::remove_file(alpha.path("manifests/web.yaml")).unwrap();
    text.line_with("exports  web.shop.svc.alpha.example:80  gone");
}

#[test]
fn wait_says_what_is_missing_and_whose_turn_it_is() {
    let (alpha, beta) = pair();
    alpha.wait("beta's view of us", |status| {
        let side = status["peers"][0].get("farSide")?;
        side["mismatches"].as_array()?.iter().any(|it| it["kind"] == "probe").then_some(())
    });
    let wait = |more: &[&str]| {
        let output = alpha.run(&[&["status", "--wait", "--timeout", "1s"], more].concat());
        let out = String::from_utf8(output.stdout).unwrap();
        (output.status.code(), out, String::from_utf8(output.stderr).unwrap())
    };
    let (code, out, error) = wait(&["beta"]);
    assert_eq!(code, Some(1), "{out}");
    assert!(out.starts_with("not ready after 1s:\n"), "{out}");
    // No Envoy runs on either side, and each side knows its part.
    let line = |text: &str| {
        out.lines().find(|line| line.contains(text)).unwrap_or_else(|| panic!("{text}: {out}"))
    };
    assert!(line("beta's turn").contains("DataplaneConnectionReady ProbeFailed"), "{out}");
    assert!(out.contains("our turn") && out.contains("probe of our gateways fails"), "{out}");
    assert!(error.contains("missing after 1s"), "{error}");

    let (code, out, _) = wait(&["delta"]);
    assert_eq!(code, Some(1));
    assert!(
        out.contains("peer delta  our turn  there is no IstioFederation of this name"),
        "{out}"
    );

    let (code, out, error) = wait(&["beta", "--output", "json"]);
    assert_eq!(code, Some(1));
    let status: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(status["peers"][0]["name"], "beta");
    assert!(error.contains("beta's turn"), "{error}");

    // No controller: its operator is told how to start one.
    let empty = Cluster::new("gamma");
    let output = empty.run(&["status", "--wait", "--timeout", "1s"]);
    let out = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.code() == Some(1) && out.contains("fedgate run --dir"), "{out}");
    drop(beta);
}

#[test]
fn a_status_fits_the_terminal_and_loses_nothing() {
    let (alpha, _beta) = pair();
    alpha.wait("beta's view of us", |status| {
        let side = status["peers"][0].get("farSide")?;
        side["mismatches"].as_array()?.iter().any(|it| it["kind"] == "probe").then_some(())
    });
    for columns in [80, 50] {
        let (piped, written) = same_status(&alpha, columns);
        assert!(piped.lines().any(|line| line.width() > 80) && !piped.contains('\x1b'), "{piped}");
        assert!(written.contains("\x1b[1;31m"), "an error has a colour: {written}");
        for line in without_codes(&written).lines() {
            assert!(line.width() <= columns.into(), "{columns}: {line:?}\n{written}");
        }
    }
}

/// A status in a pipe and on a terminal, with the same words.
fn same_status(cluster: &Cluster, columns: u16) -> (String, String) {
    let words =
        |text: &str| text.split_whitespace().filter(|word| !is_age(word)).collect::<String>();
    let piped = || String::from_utf8(cluster.run(&["status"]).stdout).unwrap();
    for _ in 0..20 {
        let before = piped();
        let mut terminal = Pty::start(&command(cluster, &["status"]), (columns, 200), "").unwrap();
        assert_eq!(terminal.wait().unwrap().code(), Some(1));
        // The status may have changed meanwhile.
        if words(&piped()) == words(&before) {
            let written = terminal.written();
            assert_eq!(words(&without_codes(&written)), words(&before), "{columns}: {written}");
            return (before, written);
        }
    }
    panic!("the status changes all the time: {}", piped());
}

/// Ages differ between two statuses.
fn is_age(word: &str) -> bool {
    word.strip_suffix('s').is_some_and(|number| number.bytes().all(|byte| byte.is_ascii_digit()))
}

fn without_codes(text: &str) -> String {
    let mut pieces = text.split("\x1b[");
    let first = pieces.next().unwrap_or_default().to_owned();
    first
        + &pieces
            .map(|piece| piece.split_once('m').map_or(piece, |(_, rest)| rest))
            .collect::<String>()
}

#[test]
fn colours_are_for_terminals_unless_told_otherwise() {
    let mut alpha = Cluster::new("alpha");
    alpha.start();
    let on_terminal = |command: &Command| {
        let mut terminal = Pty::start(command, (80, 50), "").unwrap();
        terminal.wait().unwrap();
        terminal.written().contains('\x1b')
    };
    assert!(on_terminal(&command(&alpha, &["status"])));
    let mut without = command(&alpha, &["status"]);
    without.env("NO_COLOR", "1");
    assert!(!on_terminal(&without));
    assert!(!on_terminal(&command(&alpha, &["status", "--color", "never"])));
    let piped = |arguments: &[&str]| alpha.run(arguments).stdout.contains(&b'\x1b');
    assert!(!piped(&["status"]) && piped(&["status", "--color", "always"]));
}

#[test]
fn documents_and_wide_rows_are_for_scripts() {
    let mut alpha = Cluster::new("alpha");
    alpha.put_service("web");
    alpha.start();
    alpha.wait("the export", |status| status["exports"].get(0).map(drop));
    let out = |arguments: &[&str]| String::from_utf8(alpha.run(arguments).stdout).unwrap();
    // The last thing that changes: no Envoy runs, and the controller notices that.
    alpha.wait("what is not running", |status| status["findings"].get(1).map(drop));
    for name in ["status", "table"] {
        let json: Value = serde_json::from_str(&out(&[name, "--output", "json"])).unwrap();
        let yaml: Value = serde_saphyr::from_str(&out(&[name, "--output", "yaml"])).unwrap();
        assert_eq!(json, yaml, "{name}");
    }
    let wide = out(&["status", "--output", "wide"]);
    assert!(wide.contains("outbound_.80_._.web.shop.svc.alpha.example"), "{wide}");
    assert!(!out(&["status"]).contains("outbound_"), "the usual text has fewer columns");
}

/// The commands in the reference's own examples run as they are there, on a folder of this test.
#[test]
fn the_commands_of_the_reference_run() {
    const REFERENCE: &str = include_str!("../../../../docs/reference.md");
    let (alpha, _beta) = pair();
    alpha.wait("beta's view of us", |status| status["peers"][0].get("farSide").map(drop));
    let home = tempfile::tempdir().unwrap();
    std::fs::create_dir(home.path().join(".zfunc")).unwrap();
    let program = std::path::Path::new(env!("CARGO_BIN_EXE_fedgate"));
    let path =
        format!("{}:{}", program.parent().unwrap().display(), std::env::var("PATH").unwrap());
    let blocks = REFERENCE.split("```sh\n").skip(1).filter_map(|rest| rest.split("```").next());
    let lines: Vec<_> =
        blocks.flat_map(str::lines).filter(|line| line.contains("fedgate ")).collect();
    let mut ran = 0;
    for line in lines.iter().filter(|line| !line.contains("kubectl") && !line.starts_with("ln ")) {
        let folder = alpha.folder().display().to_string();
        let out = home.path().join(format!("{ran}.tar.gz")).display().to_string();
        let real = line
            .replace("/var/log/envoy/gateway.log", &format!("{folder}/log"))
            .replace("/usr/local/share/man/man1", &format!("{}/man1", home.path().display()))
            .replace("/etc/fedgate", &folder)
            .replace("report.tar.gz", &out)
            .replace("10m", "1s");
        let mut bash = Command::new("bash");
        bash.args(["--norc", "-c", &format!("set -e; {real}")])
            .env("PATH", &path)
            .env("HOME", home.path());
        ran += 1;
        if line.contains("--watch") {
            Piped::start(bash).line_with("beta");
            continue;
        }
        let output = bash.output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        // No Envoy runs here, so nothing is ready and nothing is counted.
        let expected = match line {
            line if line.contains("--wait") => (Some(1), "missing after"),
            line if line.contains(" top ") => (Some(1), "no Envoy can be asked"),
            line if line.contains("support-bundle") => (Some(0), "not in it: envoy/gateway"),
            _ => (Some(0), ""),
        };
        assert!(
            output.status.code() == expected.0 && error.contains(expected.1),
            "{line}: {error}"
        );
        assert!(!expected.1.is_empty() || error.is_empty(), "{line}: {error}");
    }
    assert!(ran >= 11, "{lines:?}");
}
