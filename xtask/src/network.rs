//! Runs a program and its children in a network namespace: nothing gets in or out, and any address
//! can be used.

use anyhow::{Context, Result, bail};
use std::ffi::OsStr;
use std::process::{Command, Stdio};

/// The address range of the loopback device there, in addition to 127.0.0.1/8. All of it is local.
/// Kubernetes refuses loopback addresses for Pods, Nodes, gateways and endpoints.
pub const NETWORK: &str = "10.77.0.1/16";

/// Runs inside the namespace: sets the addresses, mounts a copy over `/etc/hosts`, then becomes the
/// program. In the copy, names can be given to addresses without effect outside. The copy
/// disappears with its last mount.
const SET_UP: &str = r#"
ip link set lo up && ip address add "$0" dev lo &&
hosts=$(mktemp) && cat /etc/hosts >"$hosts" && mount --bind "$hosts" /etc/hosts && rm "$hosts" &&
exec "$@"
"#;

/// The command that runs `program` in a network namespace. It becomes the program and keeps its
/// process ID, so killing one kills the other. The caller adds the program's arguments.
///
/// # Errors
/// When this machine does not support it; the message says what is missing.
pub fn isolated(program: &OsStr) -> Result<Command> {
    let unshare = unshare()?;
    works(Command::new("ip").arg("-Version")).context(
        "cannot run `ip`, which sets addresses in a network namespace; install iproute2",
    )?;
    let mut command = Command::new("unshare");
    command.args(unshare).args(["sh", "-c", SET_UP, NETWORK]).arg(program);
    Ok(command)
}

/// How this user may create a network namespace: root directly, others as root of a user namespace.
pub(crate) fn unshare() -> Result<&'static [&'static str]> {
    const WAYS: [&[&str]; 2] =
        [&["--net", "--mount"], &["--user", "--map-root-user", "--net", "--mount"]];
    works(Command::new("unshare").arg("--version"))
        .context("cannot run `unshare`, which creates network namespaces; install util-linux")?;
    match WAYS.into_iter().find(|way| works(Command::new("unshare").args(*way).arg("true")).is_ok())
    {
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
