//! Measures the variants in turn: A B C, C B A, A B C, ... So a machine that becomes slower, or is
//! busy for a while, slows down all of them.

use crate::cores::Cores;
use crate::load::{self, Sample};
use crate::operation::Operation;
use crate::proxy::Proxy;
use crate::update::{self, Update};
use crate::variant::Variant;
use crate::world::World;
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The number of workers that are added to see what each takes.
const MORE_WORKERS: usize = 4;

/// What runs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Programs<'a> {
    pub(crate) envoy: &'a Path,
    /// The filter as a proxy-wasm module.
    pub(crate) wasm: &'a Path,
    /// The filter as a dynamic module.
    pub(crate) native: &'a Path,
}

/// How much is measured.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    pub(crate) rounds: usize,
    /// The number of new connections in a batch.
    pub(crate) batch: usize,
}

/// The samples of one operation.
pub(crate) struct Series {
    pub(crate) operation: Operation,
    /// One for each round in which it was measured.
    pub(crate) samples: Vec<Sample>,
}

/// What was measured about one variant.
pub(crate) struct Measured {
    pub(crate) variant: Variant,
    pub(crate) series: Vec<Series>,
    /// Envoy's memory after all rounds, in KiB.
    pub(crate) memory: u64,
    /// What each further worker takes of it, in KiB.
    pub(crate) worker: Option<u64>,
    pub(crate) started_in: Duration,
    pub(crate) update: Option<Update>,
}

/// The running gateways of one world.
pub(crate) struct Contest<'a> {
    world: World,
    programs: &'a Programs<'a>,
    contestants: Vec<Contestant>,
}

/// A running gateway, and what was measured about it so far.
struct Contestant {
    proxy: Proxy,
    folder: PathBuf,
    /// Envoy's memory after its start, in KiB.
    fresh: u64,
    measured: Measured,
}

impl<'a> Contest<'a> {
    /// Starts the gateways, each in its folder.
    pub(crate) fn start(
        world: World,
        variants: impl IntoIterator<Item = Variant>,
        operations: &[Operation],
        programs: &'a Programs<'a>,
        folder: &Path,
        cores: &Cores,
    ) -> Result<Self> {
        let start = |variant: Variant| {
            let folder = folder.join(format!("{variant:?}"));
            variant.write(&world, programs, &folder)?;
            let proxy = Proxy::start(programs.envoy, &folder, 1, cores)
                .with_context(|| variant.name().to_owned())?;
            let possible =
                |operation: &&Operation| variant.authorizes() || operation.without_authorization();
            let series = |&operation: &Operation| Series { operation, samples: Vec::new() };
            let measured = Measured {
                variant,
                series: operations.iter().filter(possible).map(series).collect(),
                memory: 0,
                worker: None,
                started_in: proxy.started_in,
                update: None,
            };
            Ok(Contestant { fresh: proxy.memory()?, proxy, folder, measured })
        };
        let contestants = variants.into_iter().map(start).collect::<Result<_>>()?;
        Ok(Self { world, programs, contestants })
    }

    /// Measures all operations in turn. Round 0 is the warm-up, and is not counted.
    pub(crate) fn run(&mut self, plan: Plan) -> Result<()> {
        for round in 0..=plan.rounds {
            for contestant in &mut self.contestants {
                contestant.run(&self.world, plan.batch, round)?;
            }
            self.contestants.reverse();
        }
        for Contestant { proxy, measured, .. } in &mut self.contestants {
            measured.memory = proxy.memory()?;
        }
        Ok(())
    }

    /// Changes the table of each gateway that has one.
    pub(crate) fn update(&mut self) -> Result<()> {
        for Contestant { proxy, folder, measured, .. } in &mut self.contestants {
            let variant = measured.variant;
            if variant.authorizes() {
                let update = update::measure(proxy, variant, &self.world, self.programs, folder);
                let shown = || format!("{}: a new table", variant.name());
                measured.update = Some(update.with_context(shown)?);
            }
        }
        Ok(())
    }

    /// Starts each gateway again, with more workers. It is the last thing that is measured.
    pub(crate) fn add_workers(&mut self, cores: &Cores) -> Result<()> {
        for Contestant { proxy, folder, fresh, measured } in &mut self.contestants {
            proxy.end();
            let more = Proxy::start(self.programs.envoy, folder, 1 + MORE_WORKERS, cores)?;
            let memory = more.memory()?.saturating_sub(*fresh);
            measured.worker = Some(memory / MORE_WORKERS as u64);
        }
        Ok(())
    }

    /// Ends the gateways. What was measured comes in the order of [`Variant::ALL`].
    pub(crate) fn end(self) -> Vec<Measured> {
        let mut all: Vec<_> =
            self.contestants.into_iter().map(|contestant| contestant.measured).collect();
        all.sort_by_key(|one| Variant::ALL.iter().position(|&variant| variant == one.variant));
        all
    }
}

impl Contestant {
    fn run(&mut self, world: &World, batch: usize, round: usize) -> Result<()> {
        let variant = self.measured.variant;
        for Series { operation, samples } in &mut self.measured.series {
            if !operation.is_in(round) {
                continue;
            }
            let count = batch * operation.per_connection();
            let sample = load::run(&self.proxy, world, *operation, count)
                .with_context(|| format!("{}: {}", variant.name(), operation.name()))?;
            if round > 0 {
                samples.push(sample);
            }
        }
        Ok(())
    }
}
