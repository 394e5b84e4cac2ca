//! `fedgate`: the controller and the command line.

fn main() {}
