//! The operators' page in a real Chromium, served by real controllers.
//!
//! With `PAGE_PICTURES` set to a folder, the tests write pictures of the page there. `cargo xtask
//! pictures` makes those of the documentation.

mod federation;
mod hostile;
mod hostile_clients;
mod scale;
mod site;
mod tour;
