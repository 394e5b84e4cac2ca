#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| fedgate_fuzz::proxy_header(data));

#[cfg(not(fuzzing))]
fn main() {}
