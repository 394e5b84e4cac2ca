//! Runs targets for some seconds each, on any compiler: `brief SECONDS [TARGET...]`. Inputs are
//! valid ones, and those in `corpus/`, with random changes. An input at which a target panics is
//! written to `artifacts/`.

use fastrand::Rng;
use fedgate_fuzz::{TARGETS, Target, mutate, seeds};
use std::num::NonZero;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::available_parallelism;
use std::time::{Duration, Instant};

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let seconds = arguments.next().and_then(|seconds| seconds.parse::<f64>().ok());
    let Some(time) = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()) else {
        eprintln!("expected a number of seconds for each target, then names of targets or nothing");
        return ExitCode::from(2);
    };
    let names: Vec<_> = arguments.collect();
    if let Some(unknown) = names.iter().find(|name| TARGETS.iter().all(|(known, _)| known != name))
    {
        eprintln!("expected names of targets, found {unknown:?}; fuzz/README.md lists them");
        return ExitCode::from(2);
    }
    let chosen = |(name, _): &&Target| names.is_empty() || names.iter().any(|one| one == name);
    let targets: Vec<_> = TARGETS.iter().filter(chosen).collect();
    if run_all(&targets, time) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs targets, one on each processor at a time. Returns false if one panics.
fn run_all(targets: &[&Target], time: Duration) -> bool {
    let (next, panicked) = (AtomicUsize::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        for _ in 0..available_parallelism().map_or(1, NonZero::get) {
            scope.spawn(|| {
                while let Some(target) = targets.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if !run(**target, time) {
                        panicked.store(true, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    !panicked.into_inner()
}

/// Runs a target. Returns false if it panics.
fn run((name, target): Target, time: Duration) -> bool {
    let (start, mut count) = (Instant::now(), 0_u64);
    let mut inputs = seeds(name);
    inputs.extend(corpus(name));
    let mut rng = Rng::new();
    let unchanged = inputs.clone().into_iter();
    let mutated = std::iter::repeat_with(|| mutate(&inputs, &mut rng));
    for input in unchanged.chain(mutated) {
        if catch_unwind(|| target(&input)).is_err() {
            report(name, &input);
            return false;
        }
        count += 1;
        if start.elapsed() >= time {
            break;
        }
    }
    println!("{name:<18} {count:>8} inputs in {:.1} s", start.elapsed().as_secs_f64());
    true
}

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// What libFuzzer has found to be worth keeping, if it has run here.
fn corpus(target: &str) -> Vec<Vec<u8>> {
    let files = std::fs::read_dir(folder("corpus").join(target)).into_iter().flatten().flatten();
    files
        .filter_map(|file| std::fs::read(file.path()).ok())
        .filter(|data| data.len() <= 4096)
        .collect()
}

fn report(target: &str, input: &[u8]) {
    let folder = folder("artifacts").join(target);
    let file = folder.join(format!("brief-{:016x}", Rng::new().u64(..)));
    match std::fs::create_dir_all(&folder).and_then(|()| std::fs::write(&file, input)) {
        Ok(()) => eprintln!("{target} panicked; the input is in {}", file.display()),
        Err(error) => eprintln!("{target} panicked at {input:?}; it cannot be written: {error}"),
    }
}
