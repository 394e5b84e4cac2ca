//! Long steps show progress on a terminal, and none in a pipe.

#![expect(clippy::disallowed_methods, reason = "no one reads these files meanwhile")]

use crate::cluster::{Cluster, fedgate, service};
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use xtask::pty::Pty;

const MANIFESTS: usize = 5_000;

#[test]
fn validating_many_files_shows_how_far_it_is() {
    let cluster = Cluster::new("alpha");
    for number in 0..MANIFESTS {
        let file = cluster.path(&format!("manifests/s{number}.yaml"));
        std::fs::write(file, service(&format!("s{number}"))).unwrap();
    }
    let mut command = fedgate();
    command.arg("validate").arg(cluster.folder());
    let piped = command.output().unwrap();
    assert!(piped.status.success());
    let error = String::from_utf8(piped.stderr).unwrap();
    assert!(
        !error.contains("reading") && !error.contains('\r') && !error.contains('\x1b'),
        "{error}"
    );

    let mut terminal = Pty::start(&command, (120, 40), "").unwrap();
    assert!(terminal.wait().unwrap().success());
    let written = terminal.written();
    let of = format!(" of {MANIFESTS} (");
    let steps: Vec<usize> = written
        .split("reading manifests: ")
        .skip(1)
        .filter_map(|rest| rest.split_once(&of)?.0.parse().ok())
        .collect();
    assert!(steps.len() > 1 && steps.is_sorted() && steps.last() < Some(&MANIFESTS), "{written}");
    // It is gone at the end.
    let shown = terminal.shown();
    assert!(!shown.contains("reading") && shown.contains("0 errors, 0 warnings"), "{shown}");
}

/// An API server that answers nothing before it is released, and then that there is nothing.
struct SlowServer {
    released: Arc<AtomicBool>,
    kubeconfig: PathBuf,
    _folder: tempfile::TempDir,
}

impl SlowServer {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let released = Arc::new(AtomicBool::new(false));
        let gate = released.clone();
        std::thread::spawn(move || {
            while let Ok((mut stream, _)) = listener.accept() {
                let gate = gate.clone();
                std::thread::spawn(move || {
                    let mut request = [0; 8192];
                    while stream.read(&mut request).is_ok_and(|read| read > 0) {
                        while !gate.load(Ordering::SeqCst) {
                            std::thread::park_timeout(std::time::Duration::from_millis(20));
                        }
                        let body = r#"{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"NotFound","message":"none","code":404}"#;
                        let head = format!(
                            "HTTP/1.1 404 Not Found\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
                            body.len()
                        );
                        let _ = stream.write_all((head + body).as_bytes());
                    }
                });
            }
        });
        let folder = tempfile::tempdir().unwrap();
        let kubeconfig = folder.path().join("kubeconfig");
        let text = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: c\nclusters: [{{name: c, cluster: {{server: 'http://{address}'}}}}]\n\
             users: [{{name: u, user: {{}}}}]\ncontexts: [{{name: c, context: {{cluster: c, user: u}}}}]\n"
        );
        std::fs::write(&kubeconfig, text).unwrap();
        Self { released, kubeconfig, _folder: folder }
    }

    fn command(&self, name: &str) -> Command {
        let mut command = fedgate();
        command.arg(name).arg("--kubeconfig").arg(&self.kubeconfig);
        command
    }
}

#[test]
fn commands_that_wait_for_a_cluster_say_so_on_a_terminal_only() {
    for (name, doing) in [("check", "checking"), ("uninstall", "uninstalling")] {
        let server = SlowServer::start();
        // It waits as long as the one on the terminal.
        let mut piped = server.command(name);
        piped.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
        let child = piped.spawn().unwrap();
        let mut terminal = Pty::start(&server.command(name), (120, 60), "").unwrap();
        let shows = |text: String| move |terminal: &Pty| terminal.shown().contains(&text);
        terminal.wait_for("the progress", shows(doing.to_owned())).unwrap();
        terminal.wait_for("its time", shows(format!("{doing}: 1 s"))).unwrap();
        server.released.store(true, Ordering::SeqCst);
        terminal.wait().unwrap();
        assert!(!terminal.shown().contains(&format!("{doing}:")), "{}", terminal.shown());
        let output = child.wait_with_output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(!error.contains(doing) && !error.contains('\r'), "{error}");
    }
}
