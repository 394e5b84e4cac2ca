//! Measures the variants in turn, each round in another order. So a machine that becomes slower, or
//! is busy for a while, slows down all of them. And no variant is measured twice in a row, when it
//! would find its own data in the processor's caches.

use crate::cores::Cores;
use crate::load::{self, Sample};
use crate::meter::Meter;
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
    pub(crate) meter: Meter,
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
            let proxy = Proxy::start(programs.envoy, &folder, 1, programs.meter, cores)
                .with_context(|| variant.name().to_owned())?;
            let possible = |operation: &&Operation| variant.does(**operation);
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
            for place in order(round, self.contestants.len()) {
                if let Some(contestant) = self.contestants.get_mut(place) {
                    contestant.run(&self.world, plan.batch, round)?;
                }
            }
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
            let Programs { envoy, meter, .. } = *self.programs;
            let more = Proxy::start(envoy, folder, 1 + MORE_WORKERS, meter, cores)?;
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

/// The order of a round: it begins with another one each time, and every second one goes backwards.
fn order(round: usize, count: usize) -> Vec<usize> {
    let mut order: Vec<_> = (0..count).map(|place| (place + round) % count).collect();
    if round % 2 == 1 {
        order.reverse();
    }
    order
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_round_measures_all_and_none_twice_in_a_row() {
        for count in 3..8 {
            let rounds: Vec<_> = (0..40).map(|round| order(round, count)).collect();
            for round in &rounds {
                let mut all = round.clone();
                all.sort_unstable();
                assert_eq!(all, (0..count).collect::<Vec<_>>());
            }
            let all = rounds.concat();
            assert!(all.windows(2).all(|pair| pair[0] != pair[1]), "{count}: {all:?}");
            // Neither of two is always first.
            let place = |round: &Vec<usize>, one| round.iter().position(|&it| it == one);
            let before =
                rounds.iter().filter(|round| place(round, 0) < place(round, count - 1)).count();
            assert!((10..=30).contains(&before), "{count}: {before}");
        }
    }
}
