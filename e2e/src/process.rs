//! Child processes that do not outlive this program.
//!
//! A process is killed when its [`Process`] is dropped, also if a test fails or panics. If this
//! program is itself killed, nothing is dropped. So, with util-linux, the kernel is asked to kill
//! the process together with its parent (`setpriv --pdeathsig`, see prctl(2), PR_SET_PDEATHSIG).
//! The kernel's 'parent' is the *thread* that started the process. So one thread, which never ends,
//! starts all of them.

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal};
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{LazyLock, Mutex, mpsc};
use std::time::Duration;

/// A running program. Dropping it kills it.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `program` and appends its output to the file `log`.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(name: &str, program: &Path, arguments: &[&OsStr], log: &Path) -> Result<Self> {
        Self::start_with(name, program, arguments, &BTreeMap::new(), log)
    }

    /// Like [`Self::start_with`], with a limit (soft and hard) on open files.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start_limited(
        name: &str,
        program: &Path,
        arguments: &[&OsStr],
        open_files: Option<u32>,
        variables: &BTreeMap<String, String>,
        log: &Path,
    ) -> Result<Self> {
        let Some(open_files) = open_files else {
            return Self::start_with(name, program, arguments, variables, log);
        };
        let script = format!("ulimit -n {open_files}; exec \"$0\" \"$@\"");
        let shell = [OsStr::new("-c"), script.as_ref(), program.as_os_str()];
        let arguments: Vec<_> = shell.iter().chain(arguments).copied().collect();
        Self::start_with(name, Path::new("sh"), &arguments, variables, log)
    }

    /// Like [`Self::start`], with these additional environment variables.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start_with(
        name: &str,
        program: &Path,
        arguments: &[&OsStr],
        variables: &BTreeMap<String, String>,
        log: &Path,
    ) -> Result<Self> {
        let output = File::options().create(true).append(true).open(log)?;
        let mut command = with_parent(program, arguments);
        command.envs(variables).stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        let child = spawn(command)
            .with_context(|| format!("cannot start {name}: {}", program.display()))?;
        Ok(Self { name: name.into(), child, log: log.into() })
    }

    /// Its name in messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its process ID.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Checks that it is still running.
    ///
    /// # Errors
    /// When it has exited; the message has the last lines of its log.
    pub fn check(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => bail!(
                "{} ended with {status}; the end of its log:\n{}",
                self.name,
                self.log_tail(20)
            ),
        }
    }

    /// Waits as [`crate::wait::until`] does, but fails as soon as the process exits.
    ///
    /// # Errors
    /// When it exits or the deadline passes; the message has the end of its log.
    pub async fn wait_until<T>(
        &mut self,
        what: &str,
        deadline: Duration,
        mut look: impl AsyncFnMut() -> Result<Option<T>>,
    ) -> Result<T> {
        let found = crate::wait::until(what, deadline, async || match self.check() {
            Ok(()) => Ok(look().await?.map(Ok)),
            Err(ended) => Ok(Some(Err(ended))),
        });
        found.await.with_context(|| format!("the end of its log:\n{}", tail(&self.log, 20)))?
    }

    /// Kills it, as a crash would, and waits until it is gone.
    ///
    /// # Errors
    /// When it cannot be killed or waited for.
    pub fn kill(&mut self) -> Result<()> {
        self.child
            .kill()
            .and_then(|()| self.child.wait())
            .with_context(|| format!("cannot kill {}", self.name))?;
        Ok(())
    }

    /// Asks it to exit (SIGTERM), as an orchestrator would.
    ///
    /// # Errors
    /// When it does not exit within `deadline`.
    pub async fn terminate(&mut self, deadline: Duration) -> Result<ExitStatus> {
        let pid = i32::try_from(self.id()).ok().and_then(Pid::from_raw).context("a process id")?;
        rustix::process::kill_process(pid, Signal::TERM)?;
        let what = format!("{} to end after SIGTERM", self.name);
        crate::wait::until(&what, deadline, async || self.child.try_wait().map_err(Into::into))
            .await
    }

    /// The last lines of its output.
    pub fn log_tail(&self, lines: usize) -> String {
        tail(&self.log, lines)
    }

    /// Its whole output so far.
    pub fn log_text(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The last lines of a file; empty if the file cannot be read.
pub fn tail(file: &Path, lines: usize) -> String {
    let text = std::fs::read(file).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

/// The command that runs `program` until its parent ends. Without setpriv, it just runs `program`.
fn with_parent(program: &Path, arguments: &[&OsStr]) -> Command {
    static SETPRIV: LazyLock<bool> = LazyLock::new(|| {
        let mut setpriv = Command::new("setpriv");
        setpriv
            .args(["--pdeathsig", "KILL", "true"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        setpriv.status().is_ok_and(|status| status.success())
    });
    let mut words: Vec<OsString> = Vec::new();
    if *SETPRIV {
        words.extend(["setpriv", "--pdeathsig", "KILL"].map(Into::into));
    }
    words.push(program.into());
    words.extend(arguments.iter().map(|&argument| argument.into()));
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]);
    command
}

type Answer = mpsc::Sender<std::io::Result<Child>>;

/// Starts a command on the thread that never ends.
fn spawn(command: Command) -> std::io::Result<Child> {
    static SPAWNER: LazyLock<Mutex<mpsc::Sender<(Command, Answer)>>> = LazyLock::new(|| {
        let (requests, inbox) = mpsc::channel::<(Command, Answer)>();
        std::thread::spawn(move || {
            for (mut command, answer) in inbox {
                let _ = answer.send(command.spawn());
            }
        });
        Mutex::new(requests)
    });
    let (answer, result) = mpsc::channel();
    let gone = || std::io::Error::other("the thread that starts processes is gone");
    SPAWNER.lock().map_err(|_| gone())?.send((command, answer)).map_err(|_| gone())?;
    result.recv().map_err(|_| gone())?
}
