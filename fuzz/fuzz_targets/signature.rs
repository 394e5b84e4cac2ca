#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| fedgate_fuzz::signature(data));

#[cfg(not(fuzzing))]
fn main() {}
