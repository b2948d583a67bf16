//! What is counted, and how it is written for Prometheus.
//!
//! | part | does |
//! |---|---|
//! | [`histogram`] | how long calls take, in a fixed table of buckets |
//! | [`calls`] | the counts of one deployment, which are made at its first call |
//! | [`deployment`] | what else is read of a deployment |
//! | [`families`] | everything that `/metrics` shows: a line for each family |
//! | [`text`] | samples → Prometheus' text format |
//! | [`process`] | what the system tells of this process |
//! | [`scrape`] | the page, written while it is sent |
//! | [`top`] | the same counts for `micro top` |
//!
//! Counting is a few relaxed additions. Everything that can be read where it is kept is read by the scrape, and costs
//! nothing before. A deployment that nobody calls has no counts and no samples.

pub(super) mod calls;
mod deployment;
mod families;
mod histogram;
mod process;
mod scrape;
mod text;
mod top;

pub(crate) use scrape::Scrape;
pub(crate) use top::{Top, since};
