//! The web page in a real browser, as people use it: what is clicked, typed, read and seen.

mod browser;
mod fleet;
mod keyboard;
mod large;
mod looks;
mod pictures;
mod proposing;
mod signing_in;
mod steering;
mod waves;
