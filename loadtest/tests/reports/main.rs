//! Reports as people and programs read them. Samples of the pages are written to the build folder, at
//! `target/tmp/report-*.html`, to be looked at in a browser.

mod comparing;
mod pages;
mod sample;
mod texts;
