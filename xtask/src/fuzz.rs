//! Runs the fuzz targets briefly, on the project's own compiler.

use crate::{cargo, run, target, tests};
use anyhow::Result;

/// How long each target runs unless told otherwise.
const SECONDS: &str = "2";

/// Runs each target for some seconds. `more` is the number of seconds, then names of targets.
///
/// # Errors
/// When the targets cannot be built, or one panics.
pub fn briefly(more: &[String]) -> Result<()> {
    tests::step("building the fuzz targets");
    // A workspace of its own, with a profile of its own.
    let mut command = cargo();
    command.args(["run", "--quiet", "--locked", "--manifest-path", "fuzz/Cargo.toml"]);
    command.args(["--bin", "brief", "--"]).env("CARGO_TARGET_DIR", target().join("fuzz"));
    match more {
        [] => run(command.arg(SECONDS)),
        more => run(command.args(more)),
    }
}
