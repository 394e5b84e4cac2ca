//! Runs each target briefly, on any compiler: with valid inputs, with valid inputs in which some
//! bytes are changed, and with random bytes.

use fastrand::Rng;
use fedgate_fuzz::{TARGETS, seeds};

const ROUNDS: usize = 3_000;

#[test]
fn each_target_runs() {
    let mut rng = Rng::with_seed(1);
    for (name, target) in TARGETS {
        let seeds = seeds(name);
        seeds.iter().for_each(|seed| target(seed));
        for _ in 0..ROUNDS {
            let mut data = seeds[rng.usize(..seeds.len())].clone();
            (0..rng.usize(1..4)).for_each(|_| change(&mut data, &mut rng));
            target(&data);
            data.truncate(rng.usize(..=data.len()));
            rng.fill(&mut data);
            target(&data);
        }
    }
}

fn change(data: &mut Vec<u8>, rng: &mut Rng) {
    let index = rng.usize(..=data.len());
    match (rng.u8(..4), data.get_mut(index)) {
        (0, Some(byte)) => *byte = rng.u8(..),
        (1, Some(byte)) => *byte = byte.wrapping_add(1),
        (2, Some(_)) => drop(data.remove(index)),
        _ => data.insert(index, rng.u8(..)),
    }
}
