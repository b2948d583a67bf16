//! Which calls are recorded, by `OTEL_TRACES_SAMPLER`.

use micro_mesh::RequestId;
use micro_mesh::trace::Trace;

/// The choice for traces that begin here, and whether a caller's choice goes before it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sampler {
    follows_caller: bool,
    /// Traces whose number is below are recorded; the number is the last 63 bits of the id.
    below: u64,
}

/// One more than the largest number of a trace.
const ALL: u64 = 1 << 63;

/// What a sampler may be called, for messages.
pub(super) const NAMES: [&str; 6] = [
    "always_on",
    "always_off",
    "traceidratio",
    "parentbased_always_on",
    "parentbased_always_off",
    "parentbased_traceidratio",
];

impl Default for Sampler {
    /// `parentbased_always_on`.
    fn default() -> Sampler {
        Sampler { follows_caller: true, below: ALL }
    }
}

impl Sampler {
    /// The sampler of this name; `ratio` is for those that take one.
    pub(super) fn named(name: &str, ratio: f64) -> Option<Sampler> {
        let (follows_caller, own) = match name.strip_prefix("parentbased_") {
            Some(own) => (true, own),
            None => (false, name),
        };
        let below = match own {
            "always_on" => ALL,
            "always_off" => 0,
            "traceidratio" => (ratio * ALL as f64) as u64,
            _ => return None,
        };
        Some(Sampler { follows_caller, below })
    }

    /// Whether a call is recorded. All hosts that use the same ratio choose the same traces.
    pub(super) fn chooses(self, id: RequestId, caller: Option<Trace>) -> bool {
        match caller {
            Some(trace) if self.follows_caller => trace.is_sampled(),
            _ => ((id.as_u128() as u64) & (ALL - 1)) < self.below,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_of_the_standard_are_known() {
        for name in NAMES {
            assert!(Sampler::named(name, 0.5).is_some(), "{name}");
        }
        assert_eq!(Sampler::named("parentbased_always_on", 0.0), Some(Sampler::default()));
        assert_eq!((Sampler::named("jaeger_remote", 1.0), Sampler::named("", 1.0)), (None, None));
    }

    #[test]
    fn a_ratio_chooses_about_so_many_of_the_hosts_own_ids() {
        for ratio in [0.0, 0.1, 0.5, 1.0] {
            let sampler = Sampler::named("traceidratio", ratio).unwrap();
            let chosen = (0..10_000).filter(|_| sampler.chooses(RequestId::next(), None)).count() as f64;
            assert!((chosen / 10_000.0 - ratio).abs() < 0.05, "{ratio}: {chosen}");
        }
    }

    #[test]
    fn the_choice_of_the_caller_goes_first_where_it_is_asked_for() {
        let (id, on) = (RequestId::next(), Trace::begin());
        let off = on.sampled(false);
        let chooses = |name: &str, caller| Sampler::named(name, 1.0).unwrap().chooses(id, caller);
        assert!(chooses("parentbased_always_off", Some(on)) && !chooses("parentbased_always_on", Some(off)));
        assert!(!chooses("always_off", Some(on)) && chooses("always_on", Some(off)));
        assert!(!chooses("parentbased_always_off", None) && chooses("parentbased_traceidratio", None));
    }
}
