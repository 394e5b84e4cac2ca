//! `fedgate check rotation`: which peer holds which of our roots and keys, and what may be done
//! next.

use super::super::ask::ask;
use super::super::target::{Platform, Target};
use super::super::{ExitStatus, Output};
use anyhow::Result;
use clap::Args;
use fedgate_federation::federate::{Advice, Holding, OurKey, OurRoot, Rotation, Verdict};
use serde_json::json;
use std::collections::BTreeMap;
use std::fmt::{Display, Write};

#[derive(Debug, Args)]
pub(crate) struct RotationCommand {
    /// Output format
    #[arg(long, value_enum, default_value_t)]
    output: Output,
    #[command(flatten)]
    target: Target,
}

impl RotationCommand {
    pub(super) fn run(self) -> Result<ExitStatus> {
        let rotation: Rotation = match self.target.platform() {
            Platform::Files(folder) => ask(&folder, "/rotation", &[])?,
            Platform::Kubernetes(cluster) => cluster.snapshot()?.in_force.federation.rotation,
        };
        let complete = rotation.is_complete();
        let Rotation { roots, keys } = &rotation;
        let document = self.output.of(&json!({ "ok": complete, "roots": roots, "keys": keys }))?;
        print!("{}", document.unwrap_or_else(|| text(&rotation)));
        Ok(if complete { ExitStatus::Success } else { ExitStatus::Finding })
    }
}

fn text(rotation: &Rotation) -> String {
    let mut out = String::new();
    // Writing to a string cannot fail.
    for root in &rotation.roots {
        let _ = write_root(&mut out, root);
    }
    for key in &rotation.keys {
        let _ = write_key(&mut out, key);
    }
    out += match rotation.is_complete() {
        true => "every peer that can say so holds every root and key\n",
        false => "not every peer holds every root and key yet\n",
    };
    out
}

fn write_root(out: &mut String, root: &OurRoot) -> std::fmt::Result {
    let OurRoot { fingerprint, subject, not_after, signs, peers, sign, remove } = root;
    let used = match signs {
        Some(true) => "our gateway's certificate leads to it",
        Some(false) => "our gateway's certificate does not lead to it",
        None => "what our gateway's certificate leads to is not known",
    };
    writeln!(out, "root {fingerprint}")?;
    writeln!(out, "  {subject}, valid until {not_after}; {used}")?;
    write_peers(out, peers, (sign, remove))
}

fn write_key(out: &mut String, key: &OurKey) -> std::fmt::Result {
    let OurKey { fingerprint, signs, peers, sign, remove } = key;
    let used = match signs {
        true => "signs our tokens and documents",
        false => "in the second slot: signs our documents too, and no tokens",
    };
    writeln!(out, "key {fingerprint}\n  {used}")?;
    write_peers(out, peers, (sign, remove))
}

fn write_peers(
    out: &mut String,
    peers: &BTreeMap<impl Display, Holding>,
    (sign, remove): (&Advice, &Advice),
) -> std::fmt::Result {
    for (peer, holding) in peers {
        let (mark, what) = match holding {
            Holding::InForce => ("ok  ", "has it in force"),
            Holding::Missing => ("FAIL", "does not have it in force"),
            Holding::CannotSay => ("WARN", "does not say what it has in force"),
            Holding::Unknown => ("FAIL", "is not known to have it: no recent document of it"),
        };
        writeln!(out, "  {mark} {peer} {what}")?;
    }
    writeln!(out, "  sign with it now? {}", answer(sign))?;
    writeln!(out, "  remove it now? {}\n", answer(remove))
}

fn answer(advice: &Advice) -> String {
    let word = match advice.verdict {
        Verdict::Yes => "yes",
        Verdict::No => "no",
        Verdict::Unknown => "cannot be seen from here",
    };
    format!("{word}: {}", advice.why)
}
