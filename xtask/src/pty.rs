//! A terminal for tests: a pseudo-terminal with a program on it, and what a person would see.

use anyhow::{Context, Result, ensure};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcgetattr, tcsetwinsize};
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, Command, ExitStatus};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// How long anything may take.
const DEADLINE: Duration = Duration::from_secs(60);

/// A terminal, and the program on it.
pub struct Pty {
    master: File,
    /// Kept open, so that the terminal's modes can be read after the program's end.
    slave: File,
    output: Receiver<Vec<u8>>,
    screen: vt100::Parser,
    raw: Vec<u8>,
    child: Child,
    modes: String,
}

impl Pty {
    /// Starts a program on a terminal of this size, which shows `before` already.
    ///
    /// # Errors
    /// When the system gives no terminal, or the program does not start. It needs util-linux.
    pub fn start(command: &Command, (columns, lines): (u16, u16), before: &str) -> Result<Self> {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY)?;
        grantpt(&master)?;
        unlockpt(&master)?;
        let name = ptsname(&master, Vec::new())?.into_string()?;
        let slave = OpenOptions::new().read(true).write(true).open(Path::new(&name))?;
        let size = Winsize { ws_row: lines, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&slave, size)?;
        let modes = format!("{:?}", tcgetattr(&slave)?);
        let mut screen = vt100::Parser::new(lines, columns, 0);
        screen.process(before.as_bytes());

        // With the terminal as its own, a key such as Ctrl-C sends the program a signal.
        let mut starter = Command::new("setsid");
        starter.arg("--ctty").arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => starter.env(name, value),
                None => starter.env_remove(name),
            };
        }
        if let Some(folder) = command.get_current_dir() {
            starter.current_dir(folder);
        }
        starter.stdin(slave.try_clone()?).stdout(slave.try_clone()?).stderr(slave.try_clone()?);
        let child = starter.spawn().context("cannot start setsid of util-linux")?;

        let master = File::from(master);
        let mut reader = master.try_clone()?;
        let (sender, output) = channel();
        std::thread::spawn(move || {
            let mut piece = [0; 4096];
            while let Ok(read) = reader.read(&mut piece) {
                let Some(piece) = piece.get(..read).filter(|piece| !piece.is_empty()) else {
                    break;
                };
                if sender.send(piece.to_vec()).is_err() {
                    break;
                }
            }
        });
        Ok(Self { master, slave, output, screen, raw: Vec::new(), child, modes })
    }

    /// The program's process ID. `setsid` becomes the program, because it leads no process group.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What the screen shows now, without spaces at the ends of its lines.
    pub fn shown(&self) -> String {
        let lines = self.screen.screen().contents();
        lines.lines().map(|line| line.trim_end().to_owned() + "\n").collect()
    }

    /// Everything that the program has written.
    pub fn written(&self) -> String {
        String::from_utf8_lossy(&self.raw).into_owned()
    }

    /// The program's screen: a cursor that it hid, and whether it is the alternate one.
    pub fn is_as_usual(&self) -> bool {
        !self.screen.screen().alternate_screen() && !self.screen.screen().hide_cursor()
    }

    /// Types keys.
    ///
    /// # Errors
    /// When the terminal is gone.
    pub fn type_keys(&mut self, keys: &str) -> Result<()> {
        Ok(self.master.write_all(keys.as_bytes())?)
    }

    /// Changes the terminal's size.
    ///
    /// # Errors
    /// When the terminal is gone.
    pub fn resize(&mut self, (columns, lines): (u16, u16)) -> Result<()> {
        let size = Winsize { ws_row: lines, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&self.slave, size)?;
        self.screen.screen_mut().set_size(lines, columns);
        Ok(())
    }

    /// Waits until the terminal shows what is looked for.
    ///
    /// # Errors
    /// When it does not within a minute; the message has what it shows.
    pub fn wait_for(&mut self, what: &str, look: impl Fn(&Self) -> bool) -> Result<()> {
        let end = Instant::now() + DEADLINE;
        while !look(self) {
            let left = end.saturating_duration_since(Instant::now());
            ensure!(!left.is_zero(), "waited for {what}; the terminal shows\n{}", self.shown());
            self.take(left.min(Duration::from_millis(200)));
        }
        Ok(())
    }

    /// Waits for the program's end, and reads all of its output.
    ///
    /// # Errors
    /// When it does not end within a minute, or has left the terminal's modes changed.
    pub fn wait(&mut self) -> Result<ExitStatus> {
        let end = Instant::now() + DEADLINE;
        let status = loop {
            self.take(Duration::from_millis(20));
            if let Some(status) = self.child.try_wait()? {
                break status;
            }
            ensure!(Instant::now() < end, "it does not end; the terminal shows\n{}", self.shown());
        };
        while self.take(Duration::from_millis(100)) {}
        let modes = format!("{:?}", tcgetattr(&self.slave)?);
        ensure!(modes == self.modes, "the terminal's modes were {}, and are {modes}", self.modes);
        Ok(status)
    }

    /// Takes the next piece of output. Returns false if there is none yet.
    fn take(&mut self, patience: Duration) -> bool {
        match self.output.recv_timeout(patience) {
            Ok(piece) => {
                self.screen.process(&piece);
                self.raw.extend(piece);
                true
            }
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => false,
        }
    }
}

impl Drop for Pty {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
