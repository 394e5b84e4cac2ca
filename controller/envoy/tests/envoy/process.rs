//! A running Envoy. It ends when its value is dropped.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// Long, because the machine may be busy. Only a failing test waits this long.
const DEADLINE: Duration = Duration::from_secs(30);

/// Waits until `condition` returns a value.
#[track_caller]
pub(crate) fn until<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + DEADLINE;
    while Instant::now() < deadline {
        if let Some(answer) = condition() {
            return answer;
        }
        #[expect(clippy::disallowed_methods, reason = "between two looks, with a deadline")]
        std::thread::sleep(Duration::from_millis(5));
    }
    panic!("waited {DEADLINE:?} in vain: {what}");
}

/// Fetched once, even if many tests start at the same time.
fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| xtask::envoy::path().unwrap())
}

/// Lets Envoy validate a bootstrap.
#[track_caller]
pub(crate) fn validate(bootstrap: &Path) {
    let output = Command::new(binary())
        .args(["--mode", "validate", "--config-path"])
        .arg(bootstrap)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Envoy in a user namespace with this limit of inotify instances.
fn few_inotify_instances(count: usize) -> Command {
    let script =
        format!("echo {count} > /proc/sys/user/max_inotify_instances && exec \"$0\" \"$@\"");
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "sh", "-c", &script]).arg(binary());
    command
}

/// How an Envoy with this limit of inotify instances ends, and what it prints.
pub(crate) fn end_with_inotify(
    bootstrap: impl AsRef<Path>,
    instances: usize,
) -> (ExitStatus, String) {
    let mut command = few_inotify_instances(instances);
    let command = command.arg("--config-path").arg(bootstrap.as_ref()).args([
        "--use-dynamic-base-id",
        "--concurrency",
        "2",
    ]);
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let status = until("Envoy to end", || child.try_wait().unwrap());
    let mut text = String::new();
    child.stderr.take().unwrap().read_to_string(&mut text).unwrap();
    (status, text)
}

pub(crate) struct Envoy {
    child: Child,
    folder: PathBuf,
    admin: String,
}

impl Envoy {
    /// Starts Envoy with a bootstrap, and waits until it is ready. Its logs and its admin address
    /// are in `folder`.
    pub(crate) fn start(bootstrap: impl AsRef<Path>, folder: &Path) -> Self {
        Self::run(Command::new(binary()), bootstrap.as_ref(), folder)
    }

    /// Like `start`, with this limit of open files.
    pub(crate) fn start_limited(
        bootstrap: impl AsRef<Path>,
        folder: &Path,
        open_files: u64,
    ) -> Self {
        let mut command = Command::new("sh");
        command.args(["-c", &format!("ulimit -n {open_files}; exec \"$0\" \"$@\"")]).arg(binary());
        Self::run(command, bootstrap.as_ref(), folder)
    }

    /// Like `start`, as a user with this limit of inotify instances.
    pub(crate) fn start_with_inotify(
        bootstrap: impl AsRef<Path>,
        folder: &Path,
        instances: usize,
    ) -> Self {
        Self::run(few_inotify_instances(instances), bootstrap.as_ref(), folder)
    }

    fn run(mut command: Command, bootstrap: &Path, folder: &Path) -> Self {
        fs::create_dir_all(folder).unwrap();
        let admin_path = folder.join("admin");
        let _ = fs::remove_file(&admin_path);
        let child = command
            .arg("--config-path")
            .arg(bootstrap)
            .args([
                "--use-dynamic-base-id",
                "--concurrency",
                "2",
                "--file-flush-interval-msec",
                "50",
            ])
            .args(["--drain-time-s", "600", "--admin-address-path"])
            .arg(&admin_path)
            .stdin(Stdio::null())
            .stdout(File::create(folder.join("access.log")).unwrap())
            .stderr(File::create(folder.join("envoy.log")).unwrap())
            .spawn()
            .unwrap();
        let mut envoy = Self { child, folder: folder.to_owned(), admin: String::new() };
        envoy.admin = until("Envoy's admin address", || envoy.admin_address(&admin_path));
        until("Envoy is ready", || envoy.get("/ready").filter(|answer| answer.contains("LIVE")));
        envoy
    }

    fn admin_address(&mut self, path: &Path) -> Option<String> {
        if let Some(status) = self.child.try_wait().unwrap() {
            panic!("Envoy ended with {status}");
        }
        fs::read_to_string(path).ok().filter(|text| text.parse::<SocketAddr>().is_ok())
    }

    /// The admin interface's answer. `None` if there is none.
    pub(crate) fn get(&self, path: &str) -> Option<String> {
        let mut stream = TcpStream::connect(&self.admin).ok()?;
        stream.set_read_timeout(Some(DEADLINE)).ok()?;
        write!(stream, "GET {path} HTTP/1.1\r\nhost: admin\r\nconnection: close\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        Some(answer)
    }

    /// A counter or gauge whose name matches a regular expression. 0 if there is none.
    pub(crate) fn stat(&self, name: &str) -> u64 {
        let answer = self.get(&format!("/stats?filter=^{name}$")).unwrap();
        let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        body.lines().find_map(|line| line.split_once(": ")?.1.trim().parse().ok()).unwrap_or(0)
    }

    /// Fails if Envoy has ended.
    #[track_caller]
    pub(crate) fn lives(&mut self) {
        assert_eq!(self.child.try_wait().unwrap(), None, "Envoy has ended");
    }

    /// How many inotify instances it holds.
    pub(crate) fn inotify_instances(&self) -> usize {
        let descriptors = fs::read_dir(format!("/proc/{}/fd", self.child.id())).unwrap().flatten();
        let targets = descriptors.filter_map(|entry| fs::read_link(entry.path()).ok());
        targets.filter(|target| target.as_os_str() == "anon_inode:inotify").count()
    }

    /// How many descriptors it has open. `None` if it has ended.
    pub(crate) fn descriptors(&mut self) -> Option<usize> {
        match self.child.try_wait().unwrap() {
            Some(_) => None,
            None => Some(fs::read_dir(format!("/proc/{}/fd", self.child.id())).ok()?.count()),
        }
    }

    /// The address of a listener.
    #[track_caller]
    pub(crate) fn listener(&self, name: &str) -> SocketAddr {
        until(&format!("listener {name}"), || {
            let answer = self.get("/listeners")?;
            answer
                .lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix("::")?.trim().parse().ok())
        })
    }

    /// All counters that would change if a listener were touched.
    pub(crate) fn listener_changes(&self) -> [u64; 6] {
        [
            "listener_manager.listener_added",
            "listener_manager.listener_modified",
            "listener_manager.listener_in_place_updated",
            "listener_manager.listener_removed",
            "listener_manager.total_listeners_draining",
            "listener_manager.total_filter_chains_draining",
        ]
        .map(|name| self.stat(name))
    }

    /// The lines of the access log so far.
    pub(crate) fn access_log(&self) -> Vec<serde_json::Value> {
        let text = fs::read_to_string(self.folder.join("access.log")).unwrap();
        let complete = text.rsplit_once('\n').map_or("", |(complete, _)| complete);
        complete.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// The first line of the access log in which `field` is `value`.
    #[track_caller]
    pub(crate) fn logged(&self, field: &str, value: &str) -> serde_json::Value {
        until(&format!("a line with {field}={value}"), || {
            self.access_log().into_iter().find(|line| line[field].as_str() == Some(value))
        })
    }
}

impl Drop for Envoy {
    #[expect(clippy::disallowed_macros, reason = "a test that fails shows why")]
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            for name in ["envoy.log", "access.log"] {
                let text = fs::read_to_string(self.folder.join(name)).unwrap_or_default();
                let last: Vec<_> = text.lines().rev().take(15).collect();
                eprintln!(
                    "the end of {name}:\n{}",
                    last.into_iter().rev().collect::<Vec<_>>().join("\n")
                );
            }
        }
    }
}

/// A loopback port on which nothing listens.
pub(crate) fn free_port() -> u16 {
    xtask::ports::free().unwrap().port()
}
