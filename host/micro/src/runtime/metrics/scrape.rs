//! One look at everything, in pieces.

use super::families::{FAMILIES, Family, HostFacts, Source};
use super::text::{self, Samples};
use crate::runtime::Runtime;
use crate::runtime::deployment::Deployment;
use bytes::Bytes;
use std::sync::Arc;

/// A piece is sent when it has grown to so many bytes.
const PIECE: usize = 64 * 1024;

/// A page of metrics that is written while it is sent: ten thousand deployments make megabytes of it.
///
/// The deployments are those of when it began; their numbers are read when their turn comes.
pub(crate) struct Scrape {
    facts: HostFacts,
    called: Vec<Arc<Deployment>>,
    families: std::slice::Iter<'static, Family>,
    /// The family whose deployments are being written, and the next one of them.
    under_way: Option<(&'static Family, usize)>,
}

impl Scrape {
    /// What the page says it is.
    pub(crate) const CONTENT_TYPE: &'static str = text::CONTENT_TYPE;

    /// Everything; of the deployments only if asked to.
    pub(crate) async fn begin(runtime: &Runtime, with_deployments: bool) -> Scrape {
        let lags = runtime.subscriptions.lags().await;
        let called = if with_deployments { runtime.called() } else { Vec::new() };
        Scrape { facts: HostFacts::read(runtime, lags), called, families: FAMILIES.iter(), under_way: None }
    }
}

impl Iterator for Scrape {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        let mut out = String::with_capacity(PIECE + PIECE / 8);
        while out.len() < PIECE {
            let (family, at) = match self.under_way.take() {
                Some(place) => place,
                None => match self.families.next() {
                    Some(family) => {
                        text::write_head(&mut out, family.name, family.kind, family.help);
                        (family, 0)
                    }
                    None => break,
                },
            };
            match family.source {
                Source::Host(write) => write(&self.facts, &mut Samples::of_host(&mut out, family.name)),
                Source::Deployment(write) => {
                    let Some(deployment) = self.called.get(at) else { continue };
                    if let Some(counts) = deployment.counts() {
                        let mut samples = Samples::of_deployment(&mut out, family.name, &deployment.name);
                        write(deployment, counts, &mut samples);
                    }
                    self.under_way = Some((family, at + 1));
                }
            }
        }
        (!out.is_empty()).then(|| out.into())
    }
}

impl Runtime {
    /// The deployments that were called since the host started, sorted by name.
    pub(super) fn called(&self) -> Vec<Arc<Deployment>> {
        let routes = self.routes.load();
        let mut called: Vec<_> = routes.values().filter(|deployment| deployment.counts().is_some()).cloned().collect();
        called.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        called
    }
}
