//! A network of its own for a program and all that it starts: nothing gets out or in, and any address can be used.

use anyhow::{Context, Result, bail};
use std::ffi::OsStr;
use std::process::{Command, Stdio};

/// What is on the loopback device there besides 127.0.0.1/8, all of it local: Kubernetes refuses loopback addresses for
/// Pods, Nodes, gateways and endpoints.
pub const NETWORK: &str = "10.77.0.1/16";

/// Runs inside: sets the addresses, puts a copy in the place of `/etc/hosts`, so that names can be given to addresses that nobody outside
/// sees, then becomes the program. The copy goes with the last who has it mounted.
const SET_UP: &str = r#"
ip link set lo up && ip address add "$0" dev lo &&
hosts=$(mktemp) && cat /etc/hosts >"$hosts" && mount --bind "$hosts" /etc/hosts && rm "$hosts" &&
exec "$@"
"#;

/// The command that runs `program` in a network of its own; it becomes the program, with the same process id, so
/// whoever ends the one ends the other. Its arguments are still to be added.
///
/// # Errors
/// When this machine cannot do that; the message says what is missing.
pub fn isolated(program: &OsStr) -> Result<Command> {
    let unshare = unshare()?;
    works(Command::new("ip").arg("-Version"))
        .context("cannot run `ip`, which sets addresses in a network namespace; install iproute2")?;
    let mut command = Command::new("unshare");
    command.args(unshare).args(["sh", "-c", SET_UP, NETWORK]).arg(program);
    Ok(command)
}

/// How this user may make a network: root as it is, others as the root of a user namespace.
pub(crate) fn unshare() -> Result<&'static [&'static str]> {
    const WAYS: [&[&str]; 2] = [&["--net", "--mount"], &["--user", "--map-root-user", "--net", "--mount"]];
    works(Command::new("unshare").arg("--version"))
        .context("cannot run `unshare`, which creates network namespaces; install util-linux")?;
    match WAYS.into_iter().find(|way| works(Command::new("unshare").args(*way).arg("true")).is_ok()) {
        Some(way) => Ok(way),
        None => bail!(
            "this user cannot create a network namespace (`unshare --user --map-root-user --net --mount true` fails); run as root, \
             or allow user namespaces (sysctl kernel.unprivileged_userns_clone=1, user.max_user_namespaces above 0, \
             kernel.apparmor_restrict_unprivileged_userns=0); in a container, add the capability SYS_ADMIN"
        ),
    }
}

fn works(command: &mut Command) -> Result<()> {
    crate::run(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()))
}
